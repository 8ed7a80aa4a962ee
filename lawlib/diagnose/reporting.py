"""After some steps: where the change of each layer lies, and how the network does with each change cut to a rank."""

import functools as ft
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lawlib.checks import is_concrete, number_fault, refuse, whole_fault
from lawlib.diagnose.changes import of_layer
from lawlib.diagnose.held_out import held_out_losses, mean_loss, recommended
from lawlib.diagnose.layers import Plan, mapped, read, signature, unpacked, written
from lawlib.diagnose.state import LayerStart, Report, Start
from lawlib.linalg.batches import check_batches
from lawlib.types import Matrix, Number, PRNGKey, PyTree, Scalar

__all__ = ["after"]


def after(
    key: PRNGKey,
    start: Start,
    params: PyTree,
    held_out: PyTree,
    *,
    ranks: Sequence[int] | None = None,
    tolerance: Number = 0.05,
    measure: Callable[[PyTree, Any], Scalar] | None = None,
    draws: int = 8,
) -> Report:
    """The second half of a diagnosis: what the change of the layers since ``before`` is made of.

    ``params`` are the trained parameters, of the same structure as in ``before``, and ``held_out`` batches of data, as
    in ``before``, that training has not seen. For each layer W (m, n) with change D = W - W(0): the shares of ||D||^2
    in S_big, and their mean and standard deviation over ``draws`` pairs of random subspaces of the same dimensions;
    stable ranks; and the share that the best approximation of D of each rank keeps (``LayerReport``). ``ranks`` are by
    default 2K, 4K, 8K, ..., as long as the factors have at most half as many numbers as some layer.

    For each rank r the network is then run on the held-out data with W(0) + (best rank-r approximation of D) in every
    layer, all other leaves as trained. The recommended rank is the smallest whose mean loss is within ``tolerance`` of
    the trained network's, as a fraction of what the changes gain: the loss without them minus that of the trained
    network. ``measure(params, batch)`` is used in place of the loss, an error rate for instance; lower is better.

    The approximations of D come from eigenvectors of D^T D, or of D D^T where that is smaller: from three products with
    a block of columns where these give them up to their rounding errors (``LayerReport``), else from a full
    decomposition, which takes a fraction of a second for a side of a thousand and is cubic in the side. Compiled and
    uncompiled, it works as ``before``. Memory: two matrices (side, largest rank) for each D, and the layers of one more
    network at a time.

    Raises:
        TypeError: ``start`` does not come from ``before``.
        ValueError: parameters whose arrays have other names, shapes or dtypes than in ``before``; held-out data of
            another structure, or on which the loss does not run; ranks that are not whole, ascending numbers from 1; a
            tolerance or a number of draws out of range; and, outside jit, weights or a held-out loss that are not
            finite, or layers none of which has changed.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> keys = jax.random.split(jax.random.key(0), 5)
        >>> params = {"first": jax.random.normal(keys[0], (8, 12)) / 3, "last": jax.random.normal(keys[1], (12, 2)) / 4}
        >>> def loss(params, batch):
        ...     return jnp.mean((jnp.tanh(batch[0] @ params["first"]) @ params["last"] - batch[1]) ** 2)
        >>> x = jax.random.normal(keys[2], (3, 50, 8))
        >>> train, held_out = (x[:2], x[:2, :, :2]), (x[2:], x[2:, :, :2])
        >>> start = lawlib.diagnose.before(keys[3], loss, params, train, k=2)
        >>> first = jax.tree.map(lambda x: x[0], train)
        >>> for _ in range(100):
        ...     params = jax.tree.map(lambda W, G: W - 0.1 * G, params, jax.grad(loss)(params, first))
        >>> report = lawlib.diagnose.after(keys[4], start, params, held_out)
        >>> report.ranks.tolist(), bool(report.layers["first"].big.both > report.layers["first"].random.both)
        ([4], True)
    """
    _check_start(start)
    plan = start.plan
    ranks = _ranks(plan, ranks)
    refuse(number_fault("tolerance", tolerance, least=0.0), whole_fault("draws", draws, least=2))
    of_arrays, arrays, names = unpacked(plan.loss if measure is None else measure, params)
    _check_same(plan, names, arrays)
    _check_held_out(plan, of_arrays, arrays, held_out)
    before = [start.layers[name] for name in plan.names()]
    leaves = [jnp.asarray(arrays[layer.place]) for layer in plan.layers]
    now = [W.astype(one.weights.dtype) for W, one in zip(read(plan.layers, leaves), before, strict=True)]
    _check_values(plan, before, now)
    trained = mean_loss(of_arrays, arrays, held_out)
    _check_loss(trained)
    keys = jax.random.split(key, len(now))
    each = ft.partial(of_layer, ranks=ranks, draws=draws)
    found = mapped(each, list(zip(keys, before, now, strict=True)))

    def changed(matrices: Sequence[Matrix]) -> Scalar:
        return mean_loss(of_arrays, written(plan.layers, matrices, arrays), held_out)

    held = held_out_losses(changed, trained, before, now, [best for _, best in found], ranks)
    layers = {name: one for name, (one, _) in zip(plan.names(), found, strict=True)}
    part = jnp.asarray(tolerance, trained.dtype)
    rank = recommended(ranks, held, part)
    return Report(plan, layers, jnp.asarray(ranks, jnp.int32), held, part, rank, start.defect)


def _ranks(plan: Plan, ranks: Sequence[int] | None) -> tuple[int, ...]:
    """The given ranks, checked, or 2K, 4K, ... while factors of this rank halve the numbers of some layer."""
    if ranks is None:
        most = max(m * n / (2 * (m + n)) for m, n in plan.sizes().values())
        chosen = [2 * plan.k]
        while 2 * chosen[-1] <= most:
            chosen.append(2 * chosen[-1])
        return tuple(chosen)
    given = list(ranks)
    if not given or any(whole_fault("rank", rank, least=1) for rank in given) or sorted(set(given)) != given:
        msg = f"ranks must be whole numbers of at least 1 in ascending order, such as (4, 8, 16), got {ranks}"
        raise ValueError(msg)
    return tuple(int(rank) for rank in given)


def _check_start(start: Any) -> None:
    if not isinstance(start, Start):
        msg = f"start must be what lawlib.diagnose.before returns, got {type(start).__name__}"
        raise TypeError(msg)


def _check_same(plan: Plan, names: Sequence[str], arrays: Sequence[Any]) -> None:
    had, have = ({name: rest for name, *rest in held} for held in (plan.arrays, signature(names, arrays)))
    missing, added = sorted(set(had) - set(have)), sorted(set(have) - set(had))
    faults = []
    if missing:
        faults.append(f"they lack {missing}")
    if added:
        faults.append(f"they have {added} besides")
    for name in sorted(set(had) & set(have)):
        each = zip(("shape", "dtype"), had[name], have[name], strict=True)
        faults += [f"{name!r} had the {what} {one} and has {other}" for what, one, other in each if one != other]
    if faults:
        msg = f"the trained parameters must be those that before() saw, after some steps: {'; '.join(faults)}"
        raise ValueError(msg)


def _check_held_out(plan: Plan, loss: Callable, arrays: list[Any], held_out: PyTree) -> None:
    leaves, structure = jax.tree.flatten(held_out)
    data = (structure, tuple(jnp.ndim(leaf) for leaf in leaves))
    if data != plan.data:
        msg = (
            "held_out must be a tree of the same arrays as the batches of before(), the leading axis of each over the "
            f"batches: its arrays have {list(data[1])} axes in {structure}, those had {list(plan.data[1])} in "
            f"{plan.data[0]}"
        )
        raise ValueError(msg)
    try:
        check_batches(loss, arrays, held_out)
    except Exception as error:
        shapes = [jnp.shape(leaf) for leaf in leaves]
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        msg = f"the loss does not run on a batch of held_out, whose arrays have the shapes {shapes}: {reason}"
        raise ValueError(msg) from error


def _check_values(plan: Plan, before: Sequence[LayerStart], now: Sequence[Matrix]) -> None:
    """Refuse weights that are not finite, and a network none of whose layers has changed; traced ones are unknown."""
    starts = [start.weights for start in before]
    if not is_concrete((starts, list(now))):
        return
    wrong = [name for name, W in zip(plan.names(), now, strict=True) if not bool(jnp.isfinite(W).all())]
    if wrong:
        msg = f"the trained weights of {wrong} are not finite: training has diverged; use fewer or smaller steps"
        raise ValueError(msg)
    if all(bool(jnp.array_equal(W, start)) for W, start in zip(now, starts, strict=True)):
        msg = f"none of the layers {plan.names()} has changed since before(): pass the trained parameters"
        raise ValueError(msg)


def _check_loss(loss: Scalar) -> None:
    if is_concrete(loss) and not np.isfinite(np.asarray(loss, np.float64)):
        msg = f"the mean held-out loss of the trained network is {loss}: check the data, the parameters and the dtypes"
        raise ValueError(msg)
