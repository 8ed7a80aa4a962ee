"""The small equivalent of a deep linear network under any equivariant optimizer (``theory.equivariance``).

The optimizer is an optax transformation, unchanged. Its update is run on block arrays: it sees layers of the size of
the whole network, while only their 2r x 2r cores and one idle value each are computed. So norms over a layer or over
the network, and factors that depend on a layer's shape, are those of the whole network, and so is its memory.
"""

import functools as ft
import math
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from lawlib.compress.block_arrays import BlockArray, Unreadable
from lawlib.compress.block_trials import IDLE, ROUNDING, SCALES, largest_difference
from lawlib.compress.block_updates import Axes, blocks, first_memory, layer_axes, traced_update, updated
from lawlib.compress.deep_linear import Reduced, Reduction, reduced_loss
from lawlib.descent.steps import Descent, Iterate
from lawlib.theory.equivariance import check_takes, check_transform, equivariance_defect, idle_gradients
from lawlib.types import Scalar, Weights

__all__ = ["transformed"]

# The size of the layers on which a refused transformation is measured, and the defect below which it is equivariant:
# above rounding in float32, below what any function of single entries has.
MEASURED, EQUIVARIANT = 8, 1e-3
# The largest rank of the network of a trial.
TRIED = 2


def transformed(transform: optax.GradientTransformation) -> Descent:
    """The steps of a whole network under an equivariant optax transformation, in its small equivalent.

    ``init(reduction)`` starts it, ``step(iterate, reduction)`` makes one step; both are pure and may be jitted, scanned
    and mapped. Jit ``step``: without, the optimizer is traced again at each step. ``iterate.weights`` is a ``Reduced``,
    for ``expand``, ``factors`` and ``reduced_loss``, whose ``rho`` has the idle value of each layer (in Case 2 of all
    but the last): under Muon they differ. The memory is the optimizer's state with a ``BlockArray`` (core, idle value)
    for each array of a layer.

    The steps equal those of ``descent.steps.transformed`` on the d x d weights with the loss 1/2 ||W_{L:1} X - Y||_F^2,
    a sum over entries with whitened X, up to rounding. All layers have the width d, but for the last one of Case 2.
    Outside of jit and vmap ``init`` tries the transformation on a whole network of this depth and width 7 or less, once
    for each form of network: three steps with random gradients of sizes from 1e-4 to 1e4 must agree, with the memory.
    A branch that these steps do not reach, such as one of a schedule, is not tried; a warning tells of a transformation
    that fails on that network. A transformation with a key in its
    state draws the same numbers in both networks. Under jit there is no trial.
    Among the members are gradient descent with any momentum and decay, clipping by norms, LARS' trust ratio, Muon with
    all its options but ``preconditioning="aol"``, Shampoo by eigenvectors, schedules, accumulation, masks by layer. The
    transformation may need weights and the loss's ``value``, not functions that compute them (line searches). It may
    keep numbers and keys in its state, but may not draw noise of a layer's shape.
    In Case 2 the transformation may take eigenvectors of G G^T, but no singular vectors: gradients have singular values
    of 0 there, and the exact polar factor, say, is no function of them.

    Raises:
        TypeError: ``transform`` is no optax transformation.
        ValueError: at ``init``, the transformation fails on a tuple of matrices; it depends on the basis, as all do
            that act on single entries (with its measured defect), or is equivariant but has no rule here; its steps
            differ in the trial; widths differ; weights are complex.

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

    # A trial depends on the form of the network alone, and may be asked for with every start.
    difference = ft.cache(ft.partial(largest_difference, transform))

    def init(reduction: Reduction) -> Iterate:
        _check(reduction)
        check_takes(transform, _whole_shapes(reduction))
        axes = _axes(reduction)
        count = sum(all(of_layer) for of_layer in axes)
        start = reduction.start._replace(rho=jnp.full(count, reduction.start.rho, reduction.start.weights[0].dtype))
        try:
            _, memory = first_memory(transform, _weights(reduction, start))
        except Unreadable as reason:
            raise ValueError(_refusal(transform, str(reason), axes)) from None
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((reduction, memory))):
            _check_trial(difference, start)
        return Iterate(start, memory)

    def step(iterate: Iterate, reduction: Reduction) -> Iterate:
        _check_iterate(iterate, reduction)
        now, memory = iterate
        value, gradients = _gradients(reduction, now)
        weights = _weights(reduction, now)
        updates, memory = updated(traced_update(transform, memory, weights), gradients, memory, weights, value)
        with jax.numpy_dtype_promotion("standard"):
            cores = optax.apply_updates(now.weights, tuple(U.core for U in updates))
            rho = optax.apply_updates(
                now.rho, jnp.asarray([U.idle for U in updates if U.idle.ndim == 0], now.rho.dtype)
            )
        return Iterate(now._replace(weights=cores, rho=rho), memory)

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


def _check_iterate(iterate: Iterate, reduction: Reduction) -> None:
    given = getattr(iterate, "weights", None)
    wanted = [W.shape for W in reduction.start.weights]
    cores = [W.shape for W in given.weights] if isinstance(given, Reduced) else type(given).__name__
    if not isinstance(given, Reduced) or cores != wanted or jnp.ndim(given.rho) != 1:
        msg = (
            "step needs an iterate of this reduction, made by the init beside it, with an idle value for each layer: "
            f"cores of shapes {wanted}, got {cores}"
        )
        raise ValueError(msg)


def _whole_shapes(reduction: Reduction) -> tuple[jax.ShapeDtypeStruct, ...]:
    width, cores = len(reduction.bases[0]), reduction.start.weights
    heights = [width if rows else len(W) for W, (rows, _) in zip(cores, _axes(reduction), strict=True)]
    return tuple(jax.ShapeDtypeStruct((height, width), W.dtype) for height, W in zip(heights, cores, strict=True))


def _check_trial(difference: Callable[..., float], start: Reduced) -> None:
    """Check that the small equivalent of a network small enough to form equals it."""
    *_, last = start.weights
    num_outputs, active = last.shape
    # Two directions in place of r have all that the rules distinguish.
    rank = min(active // 2, TRIED)
    try:
        found = difference(depth=len(start.weights), rank=rank, num_outputs=2 * rank if num_outputs == active else rank)
    except jax.errors.JAXTypeError:  # A rate is traced, and under jit there is no trial.
        return
    except Exception as error:  # A transformation may hold arrays that fit the shapes of this network alone.
        text = f"the small network is not compared with a whole one, since the transformation fails on another: {error}"
        warnings.warn(text, stacklevel=3)
        return
    if not found < ROUNDING:
        msg = (
            "the small network does not take this transformation's steps: on a whole network of width "
            f"{2 * rank + IDLE} with random gradients they differ by {found:.2g} of an update or of the memory in "
            f"{len(SCALES)} steps, where rounding leaves less than {ROUNDING:g}; an operation in it has a wrong "
            "rule, or it is no function of its arguments. Train the whole network with descent.steps.transformed"
        )
        raise ValueError(msg)


def _axes(reduction: Reduction) -> Axes:
    width, active = reduction.bases[0].shape
    return layer_axes(width, active, [W.shape for W in reduction.start.weights])


def _weights(reduction: Reduction, now: Reduced) -> tuple[BlockArray, ...]:
    return blocks(_axes(reduction), now.weights, list(now.rho))


def _gradients(reduction: Reduction, now: Reduced) -> tuple[Scalar, tuple[BlockArray, ...]]:
    """The loss, and its gradient in each layer."""
    axes = _axes(reduction)
    value, cores = jax.value_and_grad(_loss)(now.weights, reduction, now)
    idle = idle_gradients(now.rho) if len(now.rho) == len(axes) else jnp.zeros_like(now.rho)
    return value, blocks(axes, cores, list(idle))


def _loss(weights: Weights, reduction: Reduction, now: Reduced) -> Scalar:
    return reduced_loss(reduction, now._replace(weights=weights))


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
