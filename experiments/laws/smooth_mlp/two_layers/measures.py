"""What claims and figures of smooth two-layer MLPs measure: the gradient's decay, its rotation, and their bounds.

Arrays have the axes (seed, step) unless their shape is given.
"""

import functools as ft
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from experiments.runner.runs import Run
from lawlib.networks.activations import ACTIVATIONS
from lawlib.theory import smooth_mlp_bounds as bounds

# The eps of Figures 3 and 12, and the largest ratio of a singular value over that of the norms in Figure 12.
SCALE, MOST_EXCESS = 1e-2, 1.9


class Bounded(NamedTuple):
    """A measured quantity and its upper bound at the same steps; ``trivial`` is what bounds it without the paper."""

    measured: np.ndarray
    bound: np.ndarray
    trivial: np.ndarray | float

    @property
    def is_informative(self) -> np.ndarray:
        """The steps at which the bound is below the trivial one."""
        return self.bound < self.trivial

    @property
    def ratio(self) -> np.ndarray:
        """The largest measured / bound over a member's informative steps, of the members that have such steps.

        A step without a number counts, so that its member has none either.
        """
        counts = ~(self.bound >= self.trivial)
        return np.where(counts, self.measured / self.bound, -np.inf).max(1)[counts.any(1)]


def num_classes(run: Run) -> int:
    """K, the number of outputs."""
    return run.config.data.num_classes


def num_small(run: Run) -> int:
    """The dimension p = d - 2K of S_small."""
    return run.config.data.dimension - 2 * num_classes(run)


def index(run: Run, step: int) -> int:
    """The place of a step among the observations."""
    return int(np.flatnonzero(run.steps == step)[0])


# The gradient. --------------------------------------------------------------------------------------------------------


def values(run: Run) -> np.ndarray:
    """sigma_i(G_1(t)), shape (seed, step, i)."""
    return run.all("gradient_values")


def tail(run: Run) -> np.ndarray:
    """sigma_{K+1}(G_1(t))."""
    return values(run)[..., num_classes(run)]


def norm(run: Run) -> np.ndarray:
    """||G_1(t)||_F."""
    return np.linalg.norm(values(run), axis=-1)


def norm_ratio(run: Run) -> np.ndarray:
    """||G_1(t)||_F / ||G_1(0)||_F."""
    return norm(run) / norm(run)[:, :1]


def value_ratio(run: Run) -> np.ndarray:
    """max_i sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K."""
    leading = values(run)[..., : num_classes(run)]
    return (leading / leading[:, :1]).max(-1)


def centres(run: Run) -> np.ndarray:
    """phi'(0) sigma_i(W_2^T Y X^T), which is 0 for i > K, shape (seed, i)."""
    return ACTIVATIONS[run.config.net.activation].slope_at_zero * run.first("target_values")


def smallest_target(run: Run) -> np.ndarray:
    """sigma_K(W_2^T Y X^T), shape (seed,)."""
    return run.first("target_values")[:, num_classes(run) - 1]


def bounded_value(run: Run) -> np.ndarray:
    """sigma_{d-K}(G_1(0)), which Proposition B.1 bounds from below, shape (seed,)."""
    return values(run)[:, 0, -num_classes(run) - 1]


def slopes(found: Sequence[Run]) -> np.ndarray:
    """The slope of the line of log sigma_i(G_1(0)) in log eps, shape (seed, i), from one run for each eps."""
    log_scale = np.log([run.config.net.scale for run in found])
    centred = log_scale - log_scale.mean()
    # Only a tail that is exactly 0 has no logarithm; its slope is then NaN, and no claim holds of it.
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.stack([values(run)[:, 0] for run in found]))
        return np.tensordot(centred / np.sum(centred**2), logs, 1)


# Both sides of Theorem D.11 and of its lemmas. ------------------------------------------------------------------------


def shares(run: Run, name: str) -> np.ndarray:
    """Each block's share in the squared change of W_1, shape (seed, step, block); NaN at step 0."""
    changed = run.all(name)
    with np.errstate(invalid="ignore"):
        return changed / changed.sum(-1, keepdims=True)


def turned(run: Run) -> np.ndarray:
    """A(t), which is at most sqrt K."""
    return np.maximum(run.all("left_sine"), run.all("right_sine"))


def rate(run: Run) -> np.ndarray:
    """rho(t)."""
    return run.all("step_bound") / run.config.opt.step_size


def first_form(run: Run) -> Bounded:
    """||W~_i(t+1) - W~_i(t)||_F / sqrt p, the largest of the blocks, and eta rho(t).

    No block changes by more than W_1 does in the step, which is eta ||G_1(t)||_F.
    """
    trivial = run.config.opt.step_size * norm(run) / num_small(run) ** 0.5
    return Bounded(run.all("step_distances").max(-1), run.all("step_bound"), trivial)


def equation_17(run: Run) -> Bounded:
    """A(t) and ||G_1(t) - G_1(0)||_F / (sigma_K(G_1(0)) - sigma_{K+1}(G_1(t))), t >= 1; inf where the gap closed."""
    gap = values(run)[:, :1, num_classes(run) - 1] - tail(run)[:, 1:]
    bound = np.where(gap <= 0, np.inf, run.all("gradient_change")[:, 1:] / np.where(gap <= 0, 1, gap))
    return Bounded(turned(run)[:, 1:], bound, num_classes(run) ** 0.5)


def wedin(run: Run) -> Bounded:
    """A(t) and the sharper bound of Lemma D.5's proof, t >= 1."""
    return Bounded(turned(run)[:, 1:], run.all("wedin_bound")[:, 1:], num_classes(run) ** 0.5)


def lemma_d9(run: Run) -> Bounded:
    """A(t) and delta(t), t >= 1, with the least constants of Assumption 3.4 that hold at every observed step."""
    K, spread, lipschitz = num_classes(run), run.first("spread")[:, None], run.worst("lipschitz")[:, None]
    decay, times = _decay(run)
    start = {"start_norm": norm(run)[:, :1], "step_size": run.config.opt.step_size}
    distance = _each(bounds.distance_bound, **start, decay=decay, num_steps=times)
    known = {"lipschitz": lipschitz, "leading": centres(run)[:, K - 1 : K], "spread": spread}
    delta = _each(bounds.alignment_bound, distance=distance, **known, tail=tail(run)[:, 1:])
    return Bounded(turned(run)[:, 1:], delta, K**0.5)


def second_form(run: Run) -> Bounded:
    """rho(t) and the bound on it of the theorem's second form, t >= 1, with the constants of ``lemma_d9``.

    eta rho(t) sqrt p bounds the change of a block, which is at most eta ||G_1(t)||_F.
    """
    decay, times = _decay(run)
    decay = (value_ratio(run) / norm_ratio(run))[:, 1:].max(1, keepdims=True) * decay**times
    bound = ft.partial(bounds.rate_bound, num_small=num_small(run))
    delta, spread = lemma_d9(run).bound, run.first("spread")[:, None]
    known = {"aligned": delta, "largest": centres(run)[:, :1], "spread": spread}
    rates = _each(bound, **known, tail=tail(run)[:, 1:], decay=decay)
    return Bounded(rate(run)[:, 1:], rates, norm(run)[:, 1:] / num_small(run) ** 0.5)


def _decay(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The least q with ||G_1(t)||_F <= q^t ||G_1(0)||_F at every observed t >= 1 (the paper's G_1 = 1), and t."""
    times = run.steps[None, 1:].astype(float)
    return (norm_ratio(run)[:, 1:] ** (1 / times)).max(1, keepdims=True), times


def _each(bound: Callable[..., Any], **numbers: ArrayLike) -> np.ndarray:
    """A bound of the library, which takes numbers, at every place of arrays that broadcast."""
    return np.asarray(jnp.vectorize(lambda *given: bound(**dict(zip(numbers, given, strict=True))))(*numbers.values()))
