"""Products with the gradient of a loss in one leaf of its parameters, for any network and any tree of parameters.

The gradient in the leaf itself is correct for any use of the leaf, and needs an array of its shape. Products with b
columns of the gradient need only (m + n) b numbers: they are derivatives of the loss in the factors of a low-rank shift
of the leaf (``shifted_loss``), where the loss only multiplies by the leaf.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from lawlib.checks import is_concrete, refuse
from lawlib.frameworks.nnx import functional, holds_modules
from lawlib.linalg.batches import trace_of_a_batch
from lawlib.linalg.kernel_uses import as_used, float_dtypes, read_as
from lawlib.linalg.leaves import Leaf, Where, array_leaves, pick
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.shifted_loss import Uses, shifted_loss
from lawlib.linalg.shifts import products_of_shifts, zero_shift
from lawlib.linalg.spectra import JointProducts, Products, matrix_products
from lawlib.types import Array, Matrix, PyTree, Scalar, matmul

__all__ = ["gradient_products", "joint_gradient_products", "matricizations"]

ROUTES = ("parameter", "matrix_free")
MEND = "use route='parameter'"
# The two routes may differ by the rounding errors of products in half precision. A wrong gradient differs by more.
AGREEMENT = 2.0**-6
MARGIN = 10.0


class _Layer(NamedTuple):
    """A leaf among the arrays, how it is read, and the dtype of the products."""

    leaf: Leaf
    matricization: Matricization
    dtype: Any

    def shape(self) -> tuple[int, ...]:
        """The shape (m, n) of its matrix, or (L, m, n) if it is a whole stack of them."""
        stack = self.matricization.stack(self.leaf.value.shape)
        return (*([math.prod(stack)] if stack else []), *self.matricization.shape(self.leaf.value))

    def matrices(self, leaf: Array) -> Array:
        """The matrix (m, n) of an array like the leaf, or all matrices (L, m, n)."""
        read = self.matricization
        return read.matrices(leaf) if read.stack(leaf.shape) else read.matrix(leaf)


class _Problem(NamedTuple):
    """loss(arrays, batch), the arrays, the program of one batch, and the layers among the arrays, by name."""

    loss: Callable[[list[Any], Any], Scalar]
    arrays: list[Any]
    program: Any
    layers: dict[str, _Layer]

    def leaves(self) -> dict[str, Array]:
        return {name: jnp.asarray(layer.leaf.value) for name, layer in self.layers.items()}

    def gradients(self, leaves: dict[str, Array], batch: Any) -> tuple[Scalar, dict[str, Array]]:
        """The loss of a batch, and its gradients in the leaves, in the dtypes of the products."""

        def of_leaves(leaves: dict[str, Array]) -> Scalar:
            arrays = list(self.arrays)
            for name, leaf in leaves.items():
                arrays[self.layers[name].leaf.place] = leaf
            return self.loss(arrays, batch)

        loss, found = jax.value_and_grad(of_leaves)(leaves)
        return loss, {name: G.astype(self.layers[name].dtype) for name, G in found.items()}


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
    problem = _posed(loss, params, [(where, matricization)], batches, dtype)
    ((name, layer),) = problem.layers.items()
    if route == "matrix_free":
        return _matrix_free(problem, batches).only(name)
    G, losses = _summed(problem, batches)
    _check_losses(problem, losses)
    _check_entries(problem, {name: jnp.sum(~jnp.isfinite(G))})
    M = layer.matricization.matrix(G)
    _warn_if_lost(problem, layer, M)
    return matrix_products(M)


def joint_gradient_products(
    loss: Callable[[PyTree, Any], Scalar],
    params: PyTree,
    layers: Mapping[Where, Matricization | None],
    batches: PyTree,
    *,
    dtype: DTypeLike | None = None,
) -> JointProducts:
    """Products with the gradients in several leaves, by name, each block of which share one pass over the data.

    They are those of ``gradient_products`` with the route "matrix_free": the derivatives in the factors of one shift
    for each leaf, all of them in one program. ``layers`` are the leaves, each a name or a function that picks it, with
    its matricization or None. A matricization of a stack of L layers without an index stands for all of them, as a
    stack (L, m, n). Outside jit the check on the first batch forms one array of the size of each leaf.

    Raises:
        ValueError: a leaf that is named twice; or as ``gradient_products`` with the route "matrix_free".

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lawlib.linalg.gradients import joint_gradient_products
        >>> from lawlib.linalg.spectra import joint_block_krylov_svd
        >>> def loss(params, batch):
        ...     return jnp.sum((jnp.tanh(batch @ params["first"]) @ params["last"]) ** 2)
        >>> params = {"first": jnp.full((5, 4), 0.1), "last": jnp.eye(4, 3)}
        >>> batches = jax.random.normal(jax.random.key(0), (2, 30, 5))  # two batches of thirty
        >>> products = joint_gradient_products(loss, params, {"first": None, "last": None}, batches)
        >>> keys = dict(zip(products.shapes, jax.random.split(jax.random.key(1)), strict=True))
        >>> found = joint_block_krylov_svd(keys, products, k=1)
        >>> {name: of.svd.left.shape for name, of in found.items()}
        {'first': (5, 1), 'last': (4, 1)}
    """
    return _matrix_free(_posed(loss, params, list(layers.items()), batches, dtype, stacks=True), batches)


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
    loss: Callable,
    params: PyTree,
    layers: Sequence[tuple[Where, Matricization | None]],
    batches: PyTree,
    dtype: Any,
    *,
    stacks: bool = False,
) -> _Problem:
    is_modules = holds_modules(params)
    plain, state, _ = functional(loss, params) if is_modules else (loss, params, "")
    leaves = [pick(state, functional(loss, params, where)[2] if is_modules else where) for where, _ in layers]
    arrays, _, tree = array_leaves(state)

    def of_arrays(arrays: list[Any], batch: Any) -> Any:
        return plain(tree(arrays), batch)

    program = trace_of_a_batch(of_arrays, arrays, batches)
    posed: dict[str, _Layer] = {}
    for leaf, (_, matricization) in zip(leaves, layers, strict=True):
        if leaf.name in posed:
            msg = f"each leaf has one gradient, and two of those that are named are {leaf.name!r}"
            raise ValueError(msg)
        wide = leaf.value.dtype if jnp.finfo(leaf.value.dtype).bits >= 32 else jnp.dtype(jnp.float32)
        read = read_as(leaf, matricization, program, stacks=stacks)
        posed[leaf.name] = _Layer(leaf, read, wide if dtype is None else jnp.dtype(dtype))
    return _Problem(of_arrays, arrays, program, posed)


# In the leaf itself. --------------------------------------------------------------------------------------------------


def _summed(problem: _Problem, batches: PyTree) -> tuple[Array, Array]:
    """The gradient in the one leaf of a problem, summed over the batches, and the losses."""
    ((name, given),) = (leaves := problem.leaves()).items()

    def add(summed: Array, batch: Any) -> tuple[Array, Scalar]:
        loss, found = problem.gradients(leaves, batch)
        return summed + found[name], loss

    return lax.scan(add, jnp.zeros(given.shape, problem.layers[name].dtype), batches)


def _check_losses(problem: _Problem, losses: Array) -> None:
    """Raise ValueError for a loss that is not finite; under jit values are unknown."""
    wrong = np.flatnonzero(~np.isfinite(np.asarray(losses, np.float64))) if is_concrete(losses) else np.zeros(0)
    if wrong.size:
        of_leaves = ", ".join(map(repr, problem.layers))
        msg = (
            f"the loss of batch {wrong[0]} is {losses[wrong[0]]} and has no gradient in the leaf {of_leaves}: check "
            f"the data, the parameters and the dtypes"
        )
        raise ValueError(msg)


def _check_entries(problem: _Problem, num_wrong: Mapping[str, Array]) -> None:
    """Raise ValueError for gradients with entries that are not finite; under jit values are unknown."""
    if not is_concrete(dict(num_wrong)):
        return
    refuse(
        *(
            f"{num} of {problem.layers[name].leaf.value.size} entries of the gradient in the leaf {name!r} are not "
            f"finite, though the loss is: scale the loss, use wider dtypes, or check for square roots and logarithms "
            f"at 0"
            for name, num in num_wrong.items()
            if num
        )
    )


def _warn_if_lost(problem: _Problem, layer: _Layer, G: Matrix) -> None:
    """Warn of a gradient that underflows; under jit its values are unknown, and it is not certified."""
    if not is_concrete(G):
        return
    dtypes = float_dtypes(problem.program.jaxpr) | {layer.leaf.value.dtype, G.dtype}
    largest, coarsest = float(jnp.max(jnp.abs(G))), max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).tiny))
    tiny = float(jnp.finfo(coarsest).tiny)
    if largest < tiny:
        msg = (
            f"the largest entry of the gradient in the leaf {layer.leaf.name!r} is {largest:g}, where {coarsest} "
            f"resolves {tiny:.1g}: scale the loss, use wider dtypes, or check whether the loss depends on this leaf"
        )
        warnings.warn(msg, stacklevel=3)


# Matrix-free. ---------------------------------------------------------------------------------------------------------


def _matrix_free(problem: _Problem, batches: PyTree) -> JointProducts:
    layers, uses = problem.layers, {name: Uses([], [], []) for name in problem.layers}
    placed = {name: (layer.leaf.place, layer.matricization, uses[name]) for name, layer in layers.items()}
    of_shifts = shifted_loss(problem.program, problem.arrays, placed)
    zeros = {name: zero_shift(layer.shape(), layer.dtype) for name, layer in layers.items()}
    first = jax.eval_shape(lambda held: jax.tree.map(lambda x: x[0], held), batches)
    jax.eval_shape(of_shifts, zeros, first)
    refuse(
        *(
            f"the leaf {name!r} is not only multiplied by, as matrix_free requires: {reason}; {MEND}"
            for name, of in uses.items()
            if (reason := of.fault())
        )
    )
    shapes = {name: layer.shape() for name, layer in layers.items()}
    dtypes = {name: layer.dtype for name, layer in layers.items()}
    _check_products(problem, lambda batches: products_of_shifts(of_shifts, batches, shapes, dtypes), batches)
    return products_of_shifts(of_shifts, batches, shapes, dtypes)


def _check_products(problem: _Problem, build: Callable[[PyTree], JointProducts], batches: PyTree) -> None:
    """Raise ValueError if the two routes differ on the first batch; traced values are not checked."""
    if not is_concrete((problem.arrays, batches)):
        return
    first, leaves = jax.tree.map(lambda x: x[:1], batches), problem.leaves()
    joint = build(first)
    directions = {name: _direction(shape, joint.dtypes[name]) for name, shape in joint.shapes.items()}
    ours = joint.apply(directions, {})
    wanted, num_wrong, losses = _dense_products(problem, leaves, directions, first)
    _check_losses(problem, losses)
    _check_entries(problem, num_wrong)
    if not is_concrete((ours, wanted)):  # Under jit, of arrays that the compiled function closes over.
        return
    off = {name: float(jnp.linalg.norm(ours[name] - wanted[name])) for name in leaves}
    size = {name: float(jnp.linalg.norm(wanted[name])) for name in leaves}
    if all(off[name] <= AGREEMENT * size[name] for name in leaves):
        return
    # At a minimum G consists of rounding errors, and may be off by the effect of rounding the leaf.
    rounded = {name: _rounded(leaf, joint.dtypes[name]) for name, leaf in leaves.items()}
    moved, _, _ = _dense_products(problem, rounded, directions, first)
    change = {name: float(jnp.linalg.norm(moved[name] - wanted[name])) for name in leaves}
    refuse(
        *(
            f"the two routes to the gradient in the leaf {name!r} disagree on the first batch, by {off[name]:g} of "
            f"{size[name]:g} in one product: values are lost in their dtype, or the loss is not differentiable here; "
            f"{MEND}"
            for name in leaves
            if not off[name] <= AGREEMENT * size[name] + MARGIN * change[name]
        )
    )


def _dense_products(
    problem: _Problem, leaves: dict[str, Array], directions: Mapping[str, Array], batch: PyTree
) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """G v for each leaf from the gradients themselves, how many of their entries are not finite, and the losses."""

    def of_batch(batch: Any) -> tuple[dict[str, Array], dict[str, Array], Array]:
        loss, found = problem.gradients(leaves, batch)
        formed = {name: matmul(problem.layers[name].matrices(G), directions[name]) for name, G in found.items()}
        return formed, {name: jnp.sum(~jnp.isfinite(G)) for name, G in found.items()}, loss

    formed, num_wrong, losses = lax.map(of_batch, batch)
    return *jax.tree.map(lambda x: x[0], (formed, num_wrong)), losses


def _direction(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """The block sin(1^2), ..., sin(n^2) of one column, for each matrix of a stack."""
    *stack, _, n = shape
    return jnp.broadcast_to(jnp.sin(jnp.arange(1, n + 1, dtype=dtype) ** 2)[:, None], (*stack, n, 1))


def _rounded(leaf: Array, dtype: DTypeLike) -> Array:
    """The leaf with an error of rounding in each entry."""
    signs = jnp.sign(jnp.sin(jnp.arange(1, leaf.size + 1, dtype=dtype))).reshape(leaf.shape)
    return leaf + (leaf * jnp.finfo(dtype).eps * signs).astype(leaf.dtype)
