"""What a low-rank head is measured by when it is built: its loss, and its units against those of the dense network."""

import functools as ft
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import Scope
from flax.errors import FlaxError
from jax.core import Tracer

from lawlib.heads import flat_params, with_params
from lawlib.types import Array, Float, Matrix, PRNGKey, PyTree, Scalar

__all__ = ["Losses", "check_units", "measured_losses", "warn_if_lost", "without_dropout"]

# Of a normal variable, this many standard deviations below its mean has a probability of 3e-5.
TRAINED = 4.0
# Rounding errors are sums of random signs: the square root of the number of terms, with room to spare.
ROUNDING = 10.0
UNIT_BY_UNIT = (
    "what stands between the layers of the head must act unit by unit and not depend on their number; a softmax, a "
    "normalization, attention or a skip connection does not: name other layers, or take inner='truncated', which keeps "
    "all units"
)


class Losses(NamedTuple):
    """The loss of the first batch, with dropout off, of the network that was given and of the low-rank one."""

    before: Scalar
    after: Scalar


class _Seen(NamedTuple):
    """What went into the head's last layer and out of the network, the head's dtypes, and who drew in it."""

    arrays: list[tuple[str, Array]]
    dtypes: list[Any]
    drew: list[str]


def without_dropout(function: Callable) -> Callable:
    """A function that applies a network, with every ``nn.Dropout`` in it as the identity."""

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, nn.Dropout) and context.method_name == "__call__":
            return args[0] if args else kwargs["inputs"]
        return call(*args, **kwargs)

    def evaluated(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(intercept):
            return function(*args, **kwargs)

    return evaluated


def measured_losses(
    loss: Callable[[PyTree, Any], Scalar],
    low_loss: Callable[[PyTree, Any], Scalar],
    variables: PyTree,
    small: PyTree,
    batch: Any,
) -> Losses:
    """The losses of the two networks on one batch, dropout off.

    Raises:
        ValueError: the low-rank network does not run, since shapes disagree.
    """
    before = without_dropout(loss)(variables, batch)
    try:
        after = without_dropout(low_loss)(small, batch)
    except (TypeError, ValueError, FlaxError) as error:
        msg = f"the low-rank network does not run ({str(error).splitlines()[0]}): {UNIT_BY_UNIT}"
        raise ValueError(msg) from error
    return Losses(before, after)


def warn_if_lost(
    loss: Callable[[PyTree, Any], Scalar], variables: PyTree, batch: Any, last: str, losses: Losses, advice: str
) -> None:
    """Warn where a trained network is given and the low-rank one has lost more than half of what it has learned.

    The reference is the loss f_0 with the kernel W (m, K) of the head's last layer at 0: the network has learned
    f_0 - before, and the low-rank one keeps f_0 - after. Their ratio is free of the loss's sign, offset and scale. An
    untrained network has f_0 - before near 0 by chance, of either sign, and is told from a trained one by <G, W>, G the
    gradient in that kernel at 0. Before training the rows of W (units) are as good as in random order, which gives
    <G, W> the mean m <g, w>, g and w the means of the rows, and the variance tr(S_G S_W) / (m - 1), S the K x K sums of
    the products of the centred rows. So a network counts as trained where before < f_0 and <G, W> is 4 standard
    deviations below the mean. A low-rank loss that is not finite where the given one is finite is warned of in any
    case, and nothing is done with traced values.
    """
    if _traced(losses):
        return
    flat, at = flat_params(variables), f"{last}/kernel"
    before, after = (float(x) for x in losses)

    def of_kernel(kernel: Matrix) -> Scalar:
        return without_dropout(loss)(with_params(variables, flat | {at: kernel}), batch)

    nothing, G = jax.value_and_grad(of_kernel)(jnp.zeros_like(flat[at]))
    nothing, deviations = float(nothing), float(_deviations(G, flat[at]))
    is_lost = deviations < -TRAINED and before < nothing and not nothing - after >= (nothing - before) / 2
    if is_lost or (jnp.isfinite(before) and not jnp.isfinite(after)):
        msg = (
            f"the given network has a loss of {before:.4g} on the first batch, the low-rank one {after:.4g}, and "
            f"{nothing:.4g} is that of the given one with its last kernel at 0: {advice}"
        )
        warnings.warn(msg, stacklevel=3)


def check_units(
    key: PRNGKey,
    runs: tuple[Callable[[PyTree, Any], Scalar], Callable[[PyTree, Any], Scalar]],
    small: PyTree,
    dense: PyTree,
    batch: Any,
    head: tuple[str, ...],
    width: int,
) -> None:
    """Compare the low-rank network with its dense form, as ``runs`` = (low-rank loss, loss) apply them to one batch.

    What the last layer of the head takes in, and what the network puts out, must agree to
    10 sqrt(width) (eps max|x| + change), with the change that relative errors of eps in the low-rank variables make.
    Dropout is off; where something else between the layers draws random numbers and the two differ, nothing follows,
    since the draws have other shapes, and a warning says so. Nothing is done with traced values.

    Raises:
        ValueError: they differ.
    """
    with jax.default_matmul_precision("highest"):
        low, full = _seen(runs[0], small, batch, head), _seen(runs[1], dense, batch, head)
        if _traced([x for _, x in low.arrays]):
            return
        eps = max(float(jnp.finfo(held).eps) for held in (*low.dtypes, *(x.dtype for _, x in low.arrays)))
        moved = _seen(runs[0], _rounded(key, small, eps), batch, head)
    for (what, x), (_, y), (_, z) in zip(low.arrays, full.arrays, moved.arrays, strict=True):
        if x.shape != y.shape:
            continue
        scale, change, difference = (float(jnp.max(jnp.abs(a), initial=0)) for a in (x, z - x, x - y))
        allowed = ROUNDING * width**0.5 * (eps * scale + change)
        if not difference > allowed:
            continue
        seen = f"{what} differ by {difference:.2g} between the low-rank network and its dense form (to_dense)"
        if low.drew or full.drew:
            drew = ", ".join(sorted({*low.drew, *full.drew}))
            msg = f"{seen}, and {drew} draws random numbers there, so that the units between the layers are not checked"
            warnings.warn(msg, stacklevel=3)
            return
        msg = f"{seen}, where rounding explains {allowed:.2g}, between the layers {list(head)}: {UNIT_BY_UNIT}"
        raise ValueError(msg)


def _deviations(G: Float[Array, "m K"], W: Float[Array, "m K"]) -> Scalar:
    """<G, W> less its mean over the orders of the rows, over its standard deviation; 0 where that is 0."""
    wide = jnp.promote_types(G.dtype, jnp.float32)
    G, W = (x.astype(wide) / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(wide).tiny).astype(wide) for x in (G, W))
    G, W = (x - jnp.mean(x, axis=0, keepdims=True) for x in (G, W))
    variance = jnp.sum((G.T @ G) * (W.T @ W)) / max(len(W) - 1, 1)
    return jnp.where(variance > 0, jnp.sum(G * W) / jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)


def _seen(run: Callable[[PyTree, Any], Scalar], variables: PyTree, batch: Any, head: tuple[str, ...]) -> _Seen:
    """One run with dropout off."""
    seen, at_start = _Seen([], [], []), {}

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        path, scope = "/".join(context.module.path), cast(Scope, context.module.scope)
        if context.method_name != "__call__" or (path and path not in head):
            return call(*args, **kwargs)
        if path == head[0]:
            at_start.update(_draws(scope.root.rng_counters))
        if path == head[-1]:
            seen.arrays.append((f"the inputs of {path!r}", args[0] if args else kwargs["inputs"]))
            drawn = _draws(scope.root.rng_counters)
            seen.drew.extend(repr(name) for name, count in drawn.items() if count > at_start.get(name, 0))
        outputs = call(*args, **kwargs)
        if path:
            seen.dtypes.append(outputs.dtype)
        else:
            seen.arrays.extend(("the outputs of the network", x) for x in jax.tree.leaves(outputs))
        return outputs

    with nn.intercept_methods(intercept):
        without_dropout(run)(variables, batch)
    floats = [(name, x) for name, x in seen.arrays if jnp.issubdtype(jnp.result_type(x), jnp.floating)]
    return seen._replace(arrays=floats)


def _draws(counters: Mapping[Any, Any], path: str = "") -> dict[str, int]:
    """How often each module has drawn random numbers, by path; Flax keeps the counters of a child in its parent's."""
    total = sum(count for count in counters.values() if isinstance(count, int))
    inside = [(f"{path}/{name[1]}".lstrip("/"), held) for name, held in counters.items() if isinstance(held, Mapping)]
    return ft.reduce(lambda found, child: found | _draws(child[1], child[0]), inside, {path: total})


def _rounded(key: PRNGKey, variables: PyTree, eps: float) -> PyTree:
    """The variables with a relative error of eps in every parameter, of random sign."""
    leaves, structure = jax.tree.flatten(variables["params"])
    keys = jax.random.split(key, max(len(leaves), 1))
    signs = [jax.random.rademacher(k, x.shape, jnp.int8).astype(x.dtype) for k, x in zip(keys, leaves, strict=False)]
    moved = [x * (1 + jnp.asarray(eps, x.dtype) * sign) for x, sign in zip(leaves, signs, strict=True)]
    return {**variables, "params": jax.tree.unflatten(structure, moved)}


def _traced(tree: PyTree) -> bool:
    return any(isinstance(x, Tracer) for x in jax.tree.leaves(tree))
