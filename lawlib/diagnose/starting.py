"""Before training: the gradients of all layers in one pass, their leading triplets, and S_big of each layer."""

import functools as ft
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lawlib.checks import is_concrete
from lawlib.diagnose.layers import Plan, mapped, planned, read, unpacked, wide
from lawlib.diagnose.state import LayerStart, Start
from lawlib.linalg.leaves import Where
from lawlib.linalg.spectra import Certified, block_krylov_svd, matrix_products
from lawlib.linalg.subspaces import SubspaceSum, orthonormal_sum
from lawlib.theory.equivariance import check_transform, equivariance_defect
from lawlib.tracking.tracked_leaves import TrackedLeaf
from lawlib.types import Array, Matrix, PRNGKey, PyTree, Scalar, matmul

__all__ = ["before"]


def before(
    key: PRNGKey,
    loss: Callable[[PyTree, Any], Scalar],
    params: PyTree,
    batches: PyTree,
    *,
    k: int,
    matrices: Mapping[str, Where | TrackedLeaf] | None = None,
    transform: optax.GradientTransformation | None = None,
) -> Start:
    """The first half of a diagnosis, at the start of training: S_big of each layer. ``after`` is the second.

    ``params`` is what ``loss(params, batch)`` takes: any pytree, the variables of a Flax linen network, an Equinox
    model or a Flax NNX model. ``batches`` is a tree of arrays whose leading axis runs over the batches; the gradients G
    (m, n) of all layers are taken in one pass over them, and are those of the losses *summed* over the batches. k is
    the number K of outputs of the network (classes): the law of Xu et al. 2026 is about the K leading singular
    vectors L (m, K), R (n, K) of G. A layer is a matrix W (m, n) from inputs to outputs, and then

        S_big of the inputs = span[L, W R] (eq. 5),   S_big of the outputs = span[R, W^T L],

    each of 2K dimensions, or all where a side has fewer. For square eps-orthogonal layers the second is the image of
    the first, W^T S_big / eps (eq. 8). Where the K-th singular value has no gap, they are not well determined:
    ``gradient.certified`` says so. With cross-entropy the gradient of a layer has K - 1 directions with signal.

    By default the layers are all leaves that the loss multiplies by (``linalg.gradients.matricizations``) with at least
    k rows and columns. ``matrices`` names others, or fewer: {"first": "params/Dense_0/kernel"}, with a function in
    place of the path, or a ``TrackedLeaf`` with a matricization. A stack of layers is a matrix for each. With
    ``transform``, the optimizer, the result has its ``equivariance_defect``: 0 for one that commutes with rotations,
    as gradient descent, which keeps a small subspace, and about 0.4 for Adam, of which the laws do not hold.

    The result keeps a copy of the layers' weights, which donating the parameters to a step leaves intact, and
    O((m + n) K) numbers for each. All is pure, and can be compiled: ``jax.jit(lambda key, params: before(key, loss,
    params, batches, k=10))(key, params)``. Without jit the loops are compiled anew in each call.

    Raises:
        TypeError: ``matrices`` is no mapping from names to leaves, or ``transform`` no optax transformation.
        ValueError: k is no whole number from 1, or larger than a side of a layer that is named; there is no layer;
            batches or a loss that ``linalg.batches.check_batches`` refuses; leaves that ``leaves.pick`` refuses or that
            are no matrices; and, outside jit, parameters, a loss or gradients that are not finite, or a gradient of 0.
            All layers at once.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> params = {"first": jax.random.normal(keys[0], (8, 12)) / 3, "last": jax.random.normal(keys[1], (12, 2)) / 4}
        >>> def loss(params, batch):
        ...     return jnp.mean((jnp.tanh(batch[0] @ params["first"]) @ params["last"] - batch[1]) ** 2)
        >>> x = jax.random.normal(keys[2], (2, 50, 8))  # two batches of fifty
        >>> start = lawlib.diagnose.before(keys[3], loss, params, (x, x[..., :2]), k=2)
        >>> {name: layer.inputs.basis.shape for name, layer in start.layers.items()}
        {'first': (8, 4), 'last': (12, 4)}
    """
    if transform is not None:
        check_transform(transform)
    plan = planned(loss, params, batches, k, matrices)
    of_arrays, arrays, names = unpacked(loss, params)
    leaves = [jnp.asarray(arrays[layer.place]) for layer in plan.layers]
    weights = read(plan.layers, leaves)
    gradients, losses = _gradients(of_arrays, arrays, leaves, plan, batches)
    G = read(plan.layers, gradients)
    _check_values(dict(zip(names, arrays, strict=True)), losses, dict(zip(plan.names(), G, strict=True)))
    key_layers, key_transform = jax.random.split(key)
    keys = jax.random.split(key_layers, len(weights))
    found = mapped(ft.partial(_begun, k=k), list(zip(keys, weights, G, strict=True)))
    layers = {
        name: LayerStart(jnp.array(W, copy=True), *one)
        for name, W, one in zip(plan.names(), weights, found, strict=True)
    }
    defect = None if transform is None else equivariance_defect(transform, key=key_transform)
    return Start(plan, layers, defect)


def _gradients(
    loss: Callable, arrays: Sequence[Any], leaves: list[Array], plan: Plan, batches: PyTree
) -> tuple[list[Array], Array]:
    """The gradients in the leaves of all layers, summed over the batches, and the losses."""

    def of_leaves(leaves: list[Array], batch: Any) -> Scalar:
        changed = list(arrays)
        for layer, leaf in zip(plan.layers, leaves, strict=True):
            changed[layer.place] = leaf
        return loss(changed, batch)

    def add(summed: list[Array], batch: Any) -> tuple[list[Array], Scalar]:
        value, gradients = jax.value_and_grad(of_leaves)(leaves, batch)
        return [total + G.astype(total.dtype) for total, G in zip(summed, gradients, strict=True)], value

    return lax.scan(add, [jnp.zeros(leaf.shape, wide(leaf.dtype)) for leaf in leaves], batches)


def _begun(key: PRNGKey, W: Matrix, G: Matrix, *, k: int) -> tuple[Certified, SubspaceSum, SubspaceSum]:
    """The leading triplets of the gradient, and S_big of the inputs and of the outputs."""
    found = block_krylov_svd(key, matrix_products(G), k)
    L, _, R = found.svd
    inputs = orthonormal_sum(L, matmul(W, R), dimension=min(2 * k, len(W)))
    outputs = orthonormal_sum(R, matmul(W.T, L), dimension=min(2 * k, W.shape[1]))
    return found, inputs, outputs


def _check_values(arrays: Mapping[str, Any], losses: Array, gradients: Mapping[str, Matrix]) -> None:
    """Refuse parameters, losses and gradients that are not finite, and gradients of 0; traced values are not known."""
    if not is_concrete((list(arrays.values()), losses, list(gradients.values()))):
        return
    bad = np.flatnonzero(~np.isfinite(np.asarray(losses, np.float64)))
    wrong = [name for name, G in gradients.items() if not bool(jnp.isfinite(G).all())]
    zero = [name for name, G in gradients.items() if not bool(jnp.any(G))]
    msg = ""
    if broken := [name for name, x in arrays.items() if not bool(jnp.isfinite(x).all())]:
        msg = f"the parameters {broken} are not finite: start from others"
    elif bad.size:
        msg = f"the loss of batch {bad[0]} is {losses[bad[0]]}: check the data, the parameters and the dtypes"
    elif wrong:
        msg = (
            f"the gradient of {wrong} is not finite, though the loss is: scale the loss, use wider dtypes, or check "
            "for square roots and logarithms at 0"
        )
    elif zero:
        msg = (
            f"the gradient of {zero} is 0, which determines no S_big: the loss does not use these layers, or later "
            "ones pass nothing back, such as a last layer that starts at 0; leave them out by matrices={...}, or call "
            "before() after the first steps"
        )
    if msg:
        raise ValueError(msg)
