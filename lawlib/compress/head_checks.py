"""Checks of a low-rank head when it is built: its loss, and its units against those of the dense network."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from lawlib.checks import is_concrete
from lawlib.compress.head_start import FACTORS, TRUNCATED
from lawlib.extras import imports_for
from lawlib.types import Array, Float, Matrix, PRNGKey, PyTree, Scalar, matmul

__all__ = [
    "UNIT_BY_UNIT",
    "Losses",
    "check_dense_form",
    "check_losses",
    "check_units",
    "measured_losses",
    "row_order_deviations",
    "warn_if_lost",
    "without_dropout",
]

# A normal variable is this many standard deviations below its mean with a probability of 3e-5.
TRAINED = 4.0
# Rounding errors grow like the square root of the number of terms; this is the safety factor.
ROUNDING = 10.0
UNIT_BY_UNIT = (
    "functions between the layers of the head must act unit by unit, for any number of units (a softmax, a "
    "normalization, attention or a skip connection does not); name other layers, or use inner='truncated', which "
    "keeps all units"
)


class Losses(NamedTuple):
    """The loss of the given and of the low-rank network on the first batch, without dropout."""

    before: Scalar
    after: Scalar


class _Seen(NamedTuple):
    """Inputs and outputs of the head's layers, outputs of the network, and the number of random draws in between.

    The values are traced if the loss runs the network inside ``jax.vmap`` or ``lax.map``; ``losses`` has one entry, the
    result of the run.
    """

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    results: list[Array]
    draws: list[int]
    losses: list[Scalar]


def without_dropout(function: Callable) -> Callable:
    """A function that applies a network, with every ``nn.Dropout`` in it as the identity."""
    with imports_for("low_rank_mlp"):
        import flax.linen as nn

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
    """The losses of the two networks on one batch, without dropout.

    Raises:
        ValueError: the low-rank network does not run, since shapes disagree or the loss uses a kernel directly.
    """
    with imports_for("low_rank_mlp"):
        from flax.errors import FlaxError

    before = without_dropout(loss)(variables, batch)
    try:
        after = without_dropout(low_loss)(small, batch)
    except KeyError as error:
        msg = (
            f"the loss uses {error} of the variables, for which the low-rank network has the factors {FACTORS}: "
            f"remove this term from the loss (weight decay belongs in the optimizer), or sum it over all leaves"
        )
        raise ValueError(msg) from error
    except (TypeError, ValueError, FlaxError) as error:
        msg = f"the low-rank network does not run ({str(error).splitlines()[0]}): {UNIT_BY_UNIT}"
        raise ValueError(msg) from error
    return Losses(before, after)


def warn_if_lost(of_kernel: Callable[[Matrix], Scalar], kernel: Matrix, losses: Losses, inner: str) -> None:
    """Warn if the given network is trained and the low-rank one has lost more than half of what it has learned.

    The reference is the loss f_0 with the kernel W (m, K) of the head's last layer at 0: the network has learned
    f_0 - before, and the low-rank one keeps f_0 - after. Their ratio is independent of sign, offset and scale of the
    loss. An untrained network has f_0 - before near 0, of either sign. It is distinguished from a trained one by <G,
    W>, G the gradient in that kernel at 0. Before training the rows of W (units) are in random order, so that <G, W>
    has the mean m <g, w>, g and w the means of the rows, and the variance tr(S_G S_W) / (m - 1), S the K x K sums of
    the products of the centred rows. A network counts as trained if before < f_0 and <G, W> is 4 standard deviations
    below the mean. A low-rank loss that is not finite, while that of the given network is, is always reported.
    """
    before, after = (float(x) for x in losses)
    nothing, G = jax.value_and_grad(of_kernel)(jnp.zeros_like(kernel))
    nothing, deviations = float(nothing), float(row_order_deviations(G, kernel))
    is_lost = deviations < -TRAINED and before < nothing and not nothing - after >= (nothing - before) / 2
    if is_lost or (math.isfinite(before) and not math.isfinite(after)):
        kept = f"inner={inner!r} is for training from initialization, inner={TRUNCATED!r} keeps a trained network"
        advice = "a larger rank keeps more" if inner == TRUNCATED else kept
        msg = (
            f"the given network has a loss of {before:.4g} on the first batch, the low-rank one {after:.4g}; with "
            f"the last kernel at 0 the given one has {nothing:.4g}: {advice}"
        )
        warnings.warn(msg, stacklevel=3)


def check_dense_form(
    key: PRNGKey,
    runs: tuple[Callable[[PyTree, Any], Scalar], Callable[[PyTree, Any], Scalar]],
    small: PyTree,
    dense: PyTree,
    batch: Any,
    head: tuple[str, ...],
) -> None:
    """Compare the low-rank network with its dense form, as ``runs`` = (low-rank loss, loss) apply them to one batch.

    The inputs of the head's last layer and the outputs of the network must agree up to 10 sqrt(m) (eps max|x| +
    change), m the width of the widest layer and change the effect of relative errors of eps in the low-rank variables.
    If the loss runs the network inside ``jax.vmap`` or ``lax.map``, its two values are compared instead. Dropout is
    off. If anything else draws random numbers between the layers, their shapes differ and nothing is compared.

    Raises:
        ValueError: they differ.
    """
    with jax.default_matmul_precision("highest"):
        low, full = _seen(runs[0], small, batch, head), _seen(runs[1], dense, batch, head)
        if any(low.draws):
            return
        # The inputs of the first layer may be integers, which have no rounding errors.
        arrays = (*low.inputs.values(), *low.outputs.values())
        eps = max(float(jnp.finfo(x.dtype).eps) for x in arrays if jnp.issubdtype(x.dtype, jnp.floating))
        rounded = {**small, "params": _rounded(key, small["params"], eps)}
        moved = _seen(runs[0], rounded, batch, head)
    width = max(x.shape[-1] for x in full.inputs.values())
    names = [f"the inputs of {head[-1]!r}", *["the outputs of the network"] * len(low.results)]
    values = [[seen.inputs[head[-1]], *seen.results] for seen in (low, full, moved)]
    if not is_concrete(values):
        names, values = ["the losses"], [seen.losses for seen in (low, full, moved)]
    compared = zip(names, *values, strict=True)
    for name, x, y, z in compared:
        if x.shape == y.shape:
            _refuse_difference(name, x, y, z, eps, width, head)


def check_losses(
    key: PRNGKey,
    loss: Callable[[PyTree, Any], Scalar],
    small: PyTree,
    dense: PyTree,
    batch: Any,
    head: tuple[str, ...],
    width: int,
) -> None:
    """Compare the losses of the low-rank network and of its dense form, as ``check_dense_form`` compares outputs.

    Raises:
        ValueError: they differ.
    """
    with jax.default_matmul_precision("highest"):
        low, full = loss(small, batch), loss(dense, batch)
        eps = max(float(jnp.finfo(x.dtype).eps) for x in (low, *jax.tree.leaves(small)))
        moved = loss(_rounded(key, small, eps), batch)
    _refuse_difference("the losses", low, full, moved, eps, width, head)


def check_units(loss: Callable[[PyTree, Any], Scalar], variables: PyTree, batch: Any, head: tuple[str, ...]) -> None:
    """Check that units do not interact between the layers of the head of the given network.

    For each hidden layer, the outputs of every second unit and of all layers before it are replaced by other values.
    The inputs of the next layer from the other units must not change; they do with any normalization and with a skip
    connection. Random draws are the same. A network inside ``jax.vmap`` or ``lax.map`` is not checked.

    Raises:
        ValueError: the inputs change.
    """
    given = _seen(loss, variables, batch, head)
    if not is_concrete((given.inputs, given.outputs)):
        return
    everywhere = {path: _replaced(z, step=1) for path, z in given.outputs.items()}
    for layer, path in enumerate(head[:-1]):
        instead = {at: everywhere[at] for at in head[:layer]} | {path: _replaced(given.outputs[path], step=2)}
        after = head[layer + 1]
        was, now = (seen.inputs[after] for seen in (given, _seen(loss, variables, batch, head, instead)))
        change, scale = _largest((now - was)[..., 1::2]), _largest(was)
        if change > ROUNDING * float(jnp.finfo(was.dtype).eps) * scale:
            msg = (
                f"with other values in every second unit of {path!r} and in the layers before it, the inputs of "
                f"{after!r} from the other units change by {change:.2g}: {UNIT_BY_UNIT}"
            )
            raise ValueError(msg)


def row_order_deviations(G: Float[Array, "m K"], W: Float[Array, "m K"]) -> Scalar:
    """(<G, W> - mean) / standard deviation, over all orders of the rows of W (m, K); 0 for a deviation of 0.

    With the rows centred, <G, W> / sqrt(tr(G^T G W^T W) / (m - 1)).
    """
    wide = G.dtype if jnp.finfo(G.dtype).bits >= 32 else jnp.dtype(jnp.float32)
    G, W = (x.astype(wide) / jnp.maximum(jnp.max(jnp.abs(x)).astype(wide), jnp.finfo(wide).tiny) for x in (G, W))
    G, W = (x - jnp.mean(x, axis=0, keepdims=True) for x in (G, W))
    variance = jnp.sum(matmul(G.T, G) * matmul(W.T, W)) / max(len(W) - 1, 1)
    return jnp.where(variance > 0, jnp.sum(G * W) / jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)


def _seen(
    run: Callable[[PyTree, Any], Scalar],
    variables: PyTree,
    batch: Any,
    head: tuple[str, ...],
    instead: Mapping[str, Array] | None = None,
) -> _Seen:
    """One run without dropout, in which ``instead`` replaces the outputs of layers."""
    with imports_for("low_rank_mlp"):
        import flax.linen as nn
        from flax.core import Scope

    seen, instead = _Seen({}, {}, [], [], []), instead or {}
    at_start = []

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        path, scope = "/".join(context.module.path), cast(Scope, context.module.scope)
        if context.method_name != "__call__" or (path and path not in head):
            return call(*args, **kwargs)
        if not path:
            results = call(*args, **kwargs)
            arrays = [x for x in jax.tree.leaves(results) if isinstance(x, jax.Array)]
            seen.results.extend(x for x in arrays if jnp.issubdtype(x.dtype, jnp.floating))
            return results
        if path == head[0]:
            at_start.append(_num_draws(scope.root.rng_counters))
        if path == head[-1]:
            seen.draws.append(_num_draws(scope.root.rng_counters) - at_start[0])
        seen.inputs[path] = args[0] if args else kwargs["inputs"]
        seen.outputs[path] = instead[path] if path in instead else call(*args, **kwargs)
        return seen.outputs[path]

    with nn.intercept_methods(intercept):
        seen.losses.append(without_dropout(run)(variables, batch))
    return seen


def _num_draws(counters: Mapping[Any, Any]) -> int:
    """How often the modules have drawn random numbers; Flax nests the counters of a child in those of its parent."""
    return sum(count if isinstance(count, int) else _num_draws(count) for count in counters.values())


def _replaced(z: Float[Array, "*N m"], step: int) -> Float[Array, "*N m"]:
    """Other values in every ``step``-th unit, alternately larger and smaller."""
    scale = jnp.max(jnp.abs(z), initial=0)
    units = jnp.arange(z.shape[-1])
    shift = jnp.where(units % step > 0, 0, 1 - 2 * (units // step % 2)).astype(z.dtype)
    return z + jnp.broadcast_to(jnp.where(scale > 0, scale, 1).astype(z.dtype) * shift, z.shape)


def _refuse_difference(
    name: str, low: Array, full: Array, moved: Array, eps: float, width: int, head: tuple[str, ...]
) -> None:
    """Raise ValueError if two values differ by more than rounding explains."""
    scale, change, difference = (_largest(a) for a in (low, moved - low, low - full))
    allowed = ROUNDING * width**0.5 * (eps * scale + change)
    if difference > allowed:
        msg = (
            f"{name} differ by {difference:.2g} between the low-rank network and its dense form (to_dense), where "
            f"rounding explains {allowed:.2g}, with the layers {list(head)}: {UNIT_BY_UNIT}"
        )
        raise ValueError(msg)


def _largest(x: Array) -> float:
    return float(jnp.max(jnp.abs(x), initial=0))


def _rounded(key: PRNGKey, params: PyTree, eps: float) -> PyTree:
    """Arrays with a relative error of eps in every entry, of random sign."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, max(len(leaves), 1))
    signs = [jax.random.rademacher(k, x.shape, jnp.int8).astype(x.dtype) for k, x in zip(keys, leaves, strict=False)]
    moved = [x * (1 + jnp.asarray(eps, x.dtype) * sign) for x, sign in zip(leaves, signs, strict=True)]
    return jax.tree.unflatten(structure, moved)
