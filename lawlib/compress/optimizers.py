"""The small equivalent of a deep linear network under any equivariant optimizer (``theory.equivariance``).

The optimizer is an optax transformation, unchanged. Its update is run on block arrays: it sees layers of the size of
the whole network, while only their 2r x 2r cores and one idle value each are computed. So norms over a layer or over
the network, and factors that depend on a layer's shape, are those of the whole network, and so is its memory.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lawlib.compress.block_arrays import Axis, BlockArray, Unreadable, conformed
from lawlib.compress.block_programs import called, conformed_tree, steady
from lawlib.compress.deep_linear import Reduced, Reduction, reduced_loss
from lawlib.descent.steps import Descent, Iterate, taken_by
from lawlib.theory.equivariance import check_transform, equivariance_defect, idle_gradients
from lawlib.types import Array, PyTree, Scalar, Weights

__all__ = ["transformed"]

# The size of the layers on which a refused transformation is measured, and the defect below which it is equivariant:
# above rounding in float32, below what any function of single entries has.
MEASURED, EQUIVARIANT = 8, 1e-3


def transformed(transform: optax.GradientTransformation) -> Descent:
    """The steps of a whole network under an equivariant optax transformation, in its small equivalent.

    ``init(reduction)`` starts it, ``step(iterate, reduction)`` makes one step; both are pure and may be jitted, scanned
    and mapped. Jit ``step``: without, the optimizer is traced again at each step. ``iterate.weights`` is a ``Reduced``,
    for ``expand``, ``factors`` and ``reduced_loss``, whose ``rho`` has the idle value of each layer (in Case 2 of all
    but the last): under Muon they differ. The memory is the optimizer's state with a ``BlockArray`` (core, idle value)
    for each array of a layer.

    The steps equal those of ``descent.steps.transformed`` on the d x d weights with the loss 1/2 ||W_{L:1} X - Y||_F^2,
    a sum over entries with whitened X, up to rounding. All layers have the width d, but for the last one of Case 2.
    Among the members are gradient descent with any momentum and decay, clipping by norms, LARS' trust ratio, Muon with
    all its options but ``preconditioning="aol"``, Shampoo by eigenvectors, schedules, accumulation, masks by layer. The
    transformation may need weights and the loss's ``value``, not functions that compute them (line searches). It may
    keep numbers and keys in its state, but may not draw noise of a layer's shape.
    In Case 2 the transformation may take eigenvectors of G G^T, but no singular vectors: gradients have singular values
    of 0 there, and the exact polar factor, say, is no function of them.

    Raises:
        TypeError: ``transform`` is no optax transformation.
        ValueError: at ``init``, the transformation depends on the basis, as all do that act on single entries (with
            its measured defect), or is equivariant but has no rule here; widths differ; weights are complex.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib, optax
        >>> from lawlib.compress import LowRank
        >>> target = LowRank(jnp.eye(10_000, 2), jnp.array([2.0, 1.0]), jnp.eye(10_000, 2))
        >>> reduction = lawlib.draw_reduction(jax.random.key(0), target, depth=3, scale=0.1)
        >>> muon = lawlib.compress.transformed(optax.contrib.muon(0.01))
        >>> iterate = jax.jit(muon.step)(muon.init(reduction), reduction)
        >>> iterate.weights.rho.shape  # an idle value for each of the three layers
        (3,)
    """
    check_transform(transform)

    def init(reduction: Reduction) -> Iterate:
        _check(reduction)
        axes = _axes(reduction)
        count = sum(all(of_layer) for of_layer in axes)
        start = reduction.start._replace(rho=jnp.full(count, reduction.start.rho, reduction.start.weights[0].dtype))
        try:
            return Iterate(start, _steady_memory(transform, reduction, start))
        except Unreadable as reason:
            raise ValueError(_refusal(transform, str(reason), axes)) from None

    def step(iterate: Iterate, reduction: Reduction) -> Iterate:
        now, memory = iterate
        updates, memory = _updates(transform, reduction, now, memory)
        with jax.numpy_dtype_promotion("standard"):
            weights = optax.apply_updates(now.weights, tuple(U.core for U in updates))
            rho = optax.apply_updates(
                now.rho, jnp.asarray([U.idle for U in updates if U.idle.ndim == 0], now.rho.dtype)
            )
        return Iterate(now._replace(weights=weights, rho=rho), memory)

    return Descent(init, step)


def _check(reduction: Reduction) -> None:
    shapes = {basis.shape for basis in reduction.bases}
    if len(shapes) > 1:
        msg = (
            "an optimizer's steps can be reduced where all layers have one width (but for a last layer of as many "
            f"outputs as the rank), got bases of shapes {sorted(shapes)}: use compress.step for other widths"
        )
        raise ValueError(msg)
    if any(jnp.iscomplexobj(W) for W in reduction.start.weights):
        msg = f"weights must be real, got {reduction.start.weights[0].dtype}"
        raise ValueError(msg)


def _axes(reduction: Reduction) -> list[tuple[Axis | None, ...]]:
    """(rows, columns) of each layer; layer l maps space l - 1 to space l, and r outputs are no space of their own."""
    width, active = reduction.bases[0].shape
    spaces = [Axis(f"space {place}", active, width - active) for place in range(len(reduction.start.weights) + 1)]
    shapes = [W.shape for W in reduction.start.weights]
    pairs = zip(shapes, itertools.pairwise(spaces), strict=True)
    return [(rows if shape[0] == active else None, columns) for shape, (columns, rows) in pairs]


def _blocks(axes: list, weights: tuple[Array, ...], rho: Array) -> tuple[BlockArray, ...]:
    idle = [*rho, *(jnp.zeros(len(W), W.dtype) for W in weights[len(rho) :])]
    return tuple(map(BlockArray, weights, idle, axes))


def _updates(
    transform: optax.GradientTransformation, reduction: Reduction, now: Reduced, memory: PyTree
) -> tuple[tuple[BlockArray, ...], PyTree]:
    """The update of each layer, and the new memory."""
    axes = _axes(reduction)
    value, cores = jax.value_and_grad(_loss)(now.weights, reduction, now)
    idle = idle_gradients(now.rho) if len(now.rho) == len(axes) else jnp.zeros_like(now.rho)
    weights, gradients = _blocks(axes, now.weights, now.rho), _blocks(axes, cores, idle)

    def update(gradients: PyTree, memory: PyTree, weights: PyTree, value: Scalar) -> tuple[PyTree, PyTree]:
        more = _asked_for(transform, value, gradients)
        # optax raises its rates to an integer power, a mixture of dtypes that strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return transform.update(gradients, memory, weights, **more)

    updates, after = called(update, gradients, memory, weights, value, layers=_shapes(weights))
    return tuple(map(_as_update, updates, weights)), conformed_tree(after, memory)


def _steady_memory(transform: optax.GradientTransformation, reduction: Reduction, start: Reduced) -> PyTree:
    """The memory at the start, its zeros in the form that they have after a step."""
    weights = _blocks(_axes(reduction), start.weights, start.rho)
    memory = called(transform.init, weights, layers=_shapes(weights))

    def after(memory: PyTree) -> PyTree:
        return _updates(transform, reduction, start, memory)[1]

    memory = steady(after, memory)
    if jax.tree.structure(jax.eval_shape(after, memory)) != jax.tree.structure(memory):
        msg = "its state changes its form in the first step"
        raise Unreadable(msg)
    return memory


def _loss(weights: Weights, reduction: Reduction, now: Reduced) -> Scalar:
    return reduced_loss(reduction, now._replace(weights=weights))


def _shapes(weights: tuple[BlockArray, ...]) -> frozenset:
    """The shapes of the whole network's layers, in both orders."""
    return frozenset(shape for W in weights for shape in (W.shape, W.shape[::-1]))


def _as_update(update: Any, layer: BlockArray) -> BlockArray:
    update = conformed(update, layer)
    if not isinstance(update, BlockArray) or update.axes != layer.axes or update.kind != "turning":
        msg = "its update of a layer is not made of that layer's gradient and weights"
        raise Unreadable(msg)
    return update


def _asked_for(transform: optax.GradientTransformation, value: Scalar, gradients: PyTree) -> dict[str, Any]:
    """The keywords of optax's transformations that the update of this one takes."""

    # A line search looks for these keywords.
    def elsewhere(*_: Any, obj_fn: Any = None, grad_fn: Any = None) -> None:
        del obj_fn, grad_fn
        msg = "it asks for the loss at other weights, as line searches do"
        raise Unreadable(msg)

    known = {"value": value, "grad": gradients, "value_fn": elsewhere, "obj_fn": elsewhere, "grad_fn": elsewhere}
    return taken_by(transform, known)


def _refusal(transform: optax.GradientTransformation, reason: str, axes: list) -> str:
    """Why there is no small equivalent, with the measured distance from commuting with rotations."""
    shapes = [(MEASURED if rows else MEASURED - 2, MEASURED) for rows, _ in axes]
    with jax.ensure_compile_time_eval():
        defect = float(equivariance_defect(transform, key=jax.random.key(0), shapes=shapes, repeated=MEASURED // 2))
    if math.isnan(defect):
        return f"its steps cannot be reduced: {reason}; whether it commutes with rotations is not known, as it diverges"
    if defect < EQUIVARIANT:
        return (
            f"this transformation commutes with rotations (defect {defect:.2g}), but its steps cannot be reduced: "
            f"{reason}; train the whole network with descent.steps.transformed"
        )
    return (
        f"no small network is equivalent under this transformation, which does not commute with rotations: {reason}; "
        f"defect {defect:.2g}, 0 up to rounding for those that do, such as optax.sgd, optax.contrib.muon and Shampoo"
    )
