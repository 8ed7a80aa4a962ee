"""Products with the gradient of a loss in one leaf of its parameters, for any network and any tree of parameters.

The gradient in the leaf itself is correct for any use of the leaf, and needs an array of its shape. Products with b
columns of the gradient need only (m + n) b numbers: they are derivatives of the loss in the factors of a low-rank shift
of the leaf (``shifted_loss``), where the loss only multiplies by the leaf.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from lawlib.checks import is_concrete
from lawlib.frameworks.nnx import functional, holds_modules
from lawlib.linalg.batches import trace_of_a_batch
from lawlib.linalg.kernel_uses import as_used, float_dtypes, read_as
from lawlib.linalg.leaves import Leaf, Where, array_leaves, pick
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.shifted_loss import Uses, shifted_loss
from lawlib.linalg.shifts import Shift, products_of_shifts, zero_shift
from lawlib.linalg.spectra import Products, matrix_products
from lawlib.types import Array, Matrix, PyTree, Scalar, matmul

__all__ = ["gradient_products", "matricizations"]

ROUTES = ("parameter", "matrix_free")
MEND = "use route='parameter'"
# The two routes may differ by the rounding errors of products in half precision. A wrong gradient differs by more.
AGREEMENT = 2.0**-6
MARGIN = 10.0


class _Problem(NamedTuple):
    """loss(arrays, batch), the arrays, the program of one batch, the leaf among the arrays, and how it is read."""

    loss: Callable[[list[Any], Any], Scalar]
    arrays: list[Any]
    program: Any
    leaf: Leaf
    matricization: Matricization
    dtype: Any

    def gradient(self, batches: PyTree, leaf: Array | None = None) -> tuple[Array, Array]:
        """The gradient in the leaf, summed over the batches in the dtype of the products, and the losses."""
        index, dtype = self.leaf.place, self.dtype
        before, after = self.arrays[:index], self.arrays[index + 1 :]
        given = jnp.asarray(self.leaf.value if leaf is None else leaf)

        def of_leaf(leaf: Array, batch: Any) -> Scalar:
            return self.loss([*before, leaf, *after], batch)

        def add(summed: Array, batch: Any) -> tuple[Array, Scalar]:
            loss, gradient = jax.value_and_grad(of_leaf)(given, batch)
            return summed + gradient.astype(dtype), loss

        return lax.scan(add, jnp.zeros(given.shape, dtype), batches)


def gradient_products(
    loss: Callable[[PyTree, Any], Scalar],
    params: PyTree,
    where: Where,
    batches: PyTree,
    *,
    matricization: Matricization | None = None,
    dtype: DTypeLike | None = None,
    route: str = "parameter",
) -> Products:
    """Products with G = d/d(leaf) sum_i loss(params, batch_i), read as a matrix (m, n), for any network.

    ``params`` is what ``loss(params, batch)`` takes: any pytree, the variables of a Flax linen network, an Equinox
    model, or a Flax NNX model. ``where(params)`` picks one leaf and computes nothing, ``lambda model:
    model.layers[0].weight``; or ``where`` is the leaf's path, "params/Dense_0/kernel". Leaves that are no arrays are
    left as they are. ``batches`` is a tree of arrays whose leading axis runs over the batches, taken one at a time.
    Losses are *summed* over the batches: for a mean over all samples, divide the sum over a batch by the number of all
    samples. A leaf with two axes is its own matrix; every other one needs a ``matricization``, which also gives a
    matrix that is stored as (outputs, inputs) the orientation of the others, ``Matricization(1, 0)``. The products have
    ``dtype``, by default that of the leaf, and at least float32.

    With the route "parameter" G is the derivative in the leaf itself. It is correct for every use of the leaf: shared
    layers, scanned and vmapped ones, masks, jit inside the loss, a penalty on the leaf. G is computed here, once, in
    one pass over the data, and kept; the sum over several batches needs a second array of the leaf's size. Its rounding
    errors are those of the network's own dtypes, which certificates do not include. An array at two places of a pytree
    is two leaves to JAX, and G belongs to the one; in an NNX model a shared variable is one leaf.

    "matrix_free" forms no array of the leaf's size and passes over the data once for each block. The loss may only
    multiply by the leaf: in matrix products and convolutions, as often as it likes, transposed or cast, inside jit,
    vmap, checkpoint and scan, of one layer or of a stack. Any other use is refused. Outside jit one product is also
    compared with the other route on the first batch, in the direction sin(1^2), sin(2^2), ..., sin(n^2); this check
    forms one array of the leaf's size and releases it.

    Raises:
        ValueError: ``where`` picks no leaf, several, or one that is no real floating array (``leaves.pick``); a leaf
            that is no matrix and no matricization, or one that does not fit; batches or a loss that
            ``batches.check_batches`` refuses; an unknown route; outside jit, a loss or a gradient that is not finite;
            for "matrix_free", another use of the leaf, or none, or routes that disagree.

    Warns:
        UserWarning: outside jit, G of the route "parameter" is 0, or too small for its dtype.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> def loss(params, batch):
        ...     return jnp.sum(jnp.tanh(batch @ params["first"]["kernel"]) ** 2)
        >>> params = {"first": {"kernel": jnp.full((5, 4), 0.1)}}
        >>> batches = jax.random.normal(jax.random.key(0), (2, 30, 5))  # two batches of thirty
        >>> products = lawlib.gradient_products(loss, params, lambda p: p["first"]["kernel"], batches)
        >>> lawlib.block_krylov_svd(jax.random.key(1), products, k=1).svd.right.shape
        (4, 1)
    """
    if route not in ROUTES:
        msg = f"route must be one of {ROUTES}, got {route!r}"
        raise ValueError(msg)
    problem = _posed(loss, params, where, batches, matricization, dtype)
    if route == "parameter":
        G, losses = problem.gradient(batches)
        _check_finite(problem.leaf.name, G, losses)
        M = problem.matricization.matrix(G)
        _warn_if_lost(problem, M)
        return matrix_products(M)
    uses = Uses([], [], [])
    of_shift = shifted_loss(problem.program, problem.arrays, problem.leaf.place, problem.matricization, uses)
    shape = problem.matricization.shape(problem.leaf.value)
    first = jax.eval_shape(lambda held: jax.tree.map(lambda x: x[0], held), batches)
    jax.eval_shape(of_shift, zero_shift(shape, problem.dtype), first)
    _check_uses(problem.leaf.name, uses)
    _check_a_product(problem, of_shift, batches)
    return products_of_shifts(of_shift, batches, shape, problem.dtype)


def matricizations(loss: Callable[[PyTree, Any], Scalar], params: PyTree, batches: PyTree) -> dict[str, Matricization]:
    """How the loss multiplies by each leaf of its parameters, (inputs, outputs), by the leaf's name.

    A leaf is listed if matrix products or convolutions take it, by the same axes wherever it is taken; a matrix that is
    taken in both orientations, or only looked up, is not listed. A stack of layers is listed without an index. Nothing
    is computed: one batch is traced. Arguments and errors are as in ``gradient_products``.

    Raises:
        ValueError: batches or a loss that ``batches.check_batches`` refuses.
    """
    if holds_modules(params):
        loss, params, _ = functional(loss, params)
    arrays, names, tree = array_leaves(params)
    program = trace_of_a_batch(lambda arrays, batch: loss(tree(arrays), batch), arrays, batches)
    found = {name: as_used(program.jaxpr, i) for i, name in enumerate(names)}
    return {name: matricization for name, matricization in found.items() if matricization}


def _posed(
    loss: Callable, params: PyTree, where: Where, batches: PyTree, matricization: Matricization | None, dtype: Any
) -> _Problem:
    if holds_modules(params):
        loss, params, where = functional(loss, params, where)
    leaf, (arrays, _, tree) = pick(params, where), array_leaves(params)

    def of_arrays(arrays: list[Any], batch: Any) -> Any:
        return loss(tree(arrays), batch)

    program = trace_of_a_batch(of_arrays, arrays, batches)
    given = read_as(leaf, matricization, program)
    wide = leaf.value.dtype if jnp.finfo(leaf.value.dtype).bits >= 32 else jnp.dtype(jnp.float32)
    return _Problem(of_arrays, arrays, program, leaf, given, wide if dtype is None else jnp.dtype(dtype))


# In the leaf itself. --------------------------------------------------------------------------------------------------


def _check_finite(name: str, G: Array, losses: Array) -> None:
    """Raise ValueError for a loss or a gradient that is not finite; under jit values are unknown."""
    if not is_concrete((G, losses)):
        return
    wrong = np.flatnonzero(~np.isfinite(np.asarray(losses, np.float64)))
    if wrong.size:
        msg = (
            f"the loss of batch {wrong[0]} is {losses[wrong[0]]} and has no gradient in the leaf {name!r}: check the "
            f"data, the parameters and the dtypes"
        )
        raise ValueError(msg)
    num_wrong = int(jnp.sum(~jnp.isfinite(G)))
    if num_wrong:
        msg = (
            f"{num_wrong} of {G.size} entries of the gradient in the leaf {name!r} are not finite, though the loss is: "
            f"scale the loss, use wider dtypes, or check for square roots and logarithms at 0"
        )
        raise ValueError(msg)


def _warn_if_lost(problem: _Problem, G: Matrix) -> None:
    """Warn of a gradient that underflows; under jit its values are unknown, and it is not certified."""
    if not is_concrete(G):
        return
    dtypes = float_dtypes(problem.program.jaxpr) | {problem.leaf.value.dtype, G.dtype}
    largest, coarsest = float(jnp.max(jnp.abs(G))), max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).tiny))
    tiny = float(jnp.finfo(coarsest).tiny)
    if largest < tiny:
        msg = (
            f"the largest entry of the gradient in the leaf {problem.leaf.name!r} is {largest:g}, where {coarsest} "
            f"resolves {tiny:.1g}: scale the loss, use wider dtypes, or check whether the loss depends on this leaf"
        )
        warnings.warn(msg, stacklevel=3)


# Matrix-free. ---------------------------------------------------------------------------------------------------------


def _check_uses(name: str, uses: Uses) -> None:
    if reason := uses.fault():
        msg = f"the leaf {name!r} is not only multiplied by, as matrix_free requires: {reason}; {MEND}"
        raise ValueError(msg)


def _check_a_product(problem: _Problem, of_shift: Callable[[Shift, Any], Scalar], batches: PyTree) -> None:
    """Raise ValueError if the two routes differ on the first batch; traced values are not checked."""
    if not is_concrete((problem.arrays, batches)):
        return
    first = jax.tree.map(lambda x: x[:1], batches)
    matricization, dtype, leaf = problem.matricization, problem.dtype, jnp.asarray(problem.leaf.value)
    G, losses = problem.gradient(first)
    _check_finite(problem.leaf.name, G, losses)
    m, n = matricization.shape(leaf)
    v = jnp.sin(jnp.arange(1, n + 1, dtype=dtype) ** 2)[:, None]
    ours = products_of_shifts(of_shift, first, (m, n), dtype).forward(v)
    wanted = matmul(matricization.matrix(G), v)
    off, size = (jnp.linalg.norm(x) for x in (ours - wanted, wanted))
    if not is_concrete(off) or off <= AGREEMENT * size:
        return
    # At a minimum G consists of rounding errors, and may be off by the effect of rounding the leaf.
    signs = jnp.sign(jnp.sin(jnp.arange(1, leaf.size + 1, dtype=dtype))).reshape(leaf.shape)
    rounded = leaf + (leaf * jnp.finfo(dtype).eps * signs).astype(leaf.dtype)
    change = jnp.linalg.norm(matmul(matricization.matrix(problem.gradient(first, rounded)[0]), v) - wanted)
    if off <= AGREEMENT * size + MARGIN * change:
        return
    msg = (
        f"the two routes to the gradient in the leaf {problem.leaf.name!r} disagree on the first batch, by {off:g} of "
        f"{size:g} in one product: values are lost in their dtype, or the loss is not differentiable here; {MEND}"
    )
    raise ValueError(msg)
