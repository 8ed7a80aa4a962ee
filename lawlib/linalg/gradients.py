"""Products with the gradient of a loss in one leaf of its parameters, for any network and any tree of parameters.

The gradient in the leaf itself is correct for any use of the leaf, and needs an array of its shape. Products with b
columns of the gradient need only (m + n) b numbers: they are derivatives of the loss in the factors of a low-rank shift
of the leaf (``shifted_loss``), where the loss only multiplies by the leaf. For several leaves they share their passes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from lawlib.checks import refuse
from lawlib.frameworks.nnx import functional, holds_modules
from lawlib.linalg.batches import trace_of_a_batch
from lawlib.linalg.gradient_checks import MEND, check_entries, check_losses, check_products, warn_if_lost
from lawlib.linalg.gradient_problems import Problem, posed
from lawlib.linalg.kernel_uses import as_used
from lawlib.linalg.leaves import Where, array_leaves
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.shifted_loss import Uses, shifted_loss
from lawlib.linalg.shifts import products_of_shifts, zero_shift
from lawlib.linalg.spectra import JointProducts, Products, matrix_products
from lawlib.types import Array, PyTree, Scalar

__all__ = ["gradient_products", "joint_gradient_products", "matricizations"]

ROUTES = ("parameter", "matrix_free")


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
        UserWarning: outside jit, G of the route "parameter" is 0, or too small for its dtype; or, by either route, the
            scale of the loss changes a product on the first batch by more than rounding, as underflow in float16 does,
            or the products overflow at each scale, so that this is not checked.

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
    problem = posed(loss, params, [(where, matricization)], batches, dtype)
    ((name, layer),) = problem.layers.items()
    if route == "matrix_free":
        return _matrix_free(problem, batches).only(name)
    G, losses = _summed(problem, batches)
    check_losses([name], losses)
    check_entries(problem, {name: jnp.sum(~jnp.isfinite(G))})
    M = layer.matricization.matrix(G)
    warn_if_lost(problem, layer, M, batches)
    return matrix_products(M)


def joint_gradient_products(
    loss: Callable[[PyTree, Any], Scalar],
    params: PyTree,
    layers: Mapping[str, Matricization | None] | Mapping[Where, Matricization | None],
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
    return _matrix_free(posed(loss, params, list(layers.items()), batches, dtype, stacks=True), batches)


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


def _summed(problem: Problem, batches: PyTree) -> tuple[Array, Array]:
    """The gradient in the one leaf of a problem, summed over the batches, and the losses."""
    ((name, given),) = (leaves := problem.leaves()).items()

    def add(summed: Array, batch: Any) -> tuple[Array, Scalar]:
        loss, found = problem.gradients(leaves, batch)
        return summed + found[name], loss

    return lax.scan(add, jnp.zeros(given.shape, problem.layers[name].dtype), batches)


def _matrix_free(problem: Problem, batches: PyTree) -> JointProducts:
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
    check_products(problem, lambda batches: products_of_shifts(of_shifts, batches, shapes, dtypes), batches)
    return products_of_shifts(of_shifts, batches, shapes, dtypes)
