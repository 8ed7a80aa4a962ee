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
from lawlib.networks.activations import ACTIVATIONS, LEAKY_SLOPE
from lawlib.theory import smooth_mlp_bounds as bounds

# The eps of Figures 3 and 12, and the largest ratio of a singular value over that of the norms in Figure 12.
SCALE, MOST_EXCESS = 1e-2, 1.9
# The mean of the slopes on both sides of a kink at 0, in the place of phi'(0).
KINKED = {"relu": 1 / 2, "leaky_relu": (1 + LEAKY_SLOPE) / 2}


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


def rate_left(run: Run) -> np.ndarray:
    """The rate of fall of ||G_1||_F over t = 150 to 250, over that to t = 25, shape (seed,); 1 if it is geometric."""
    logs = np.log(norm(run))
    at = {step: logs[:, index(run, step)] for step in (0, 25, 150, 250)}
    return ((at[150] - at[250]) / 100) / ((at[0] - at[25]) / 25)


def leading_ratios(run: Run) -> np.ndarray:
    """sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K, shape (seed, step, i)."""
    leading = values(run)[..., : num_classes(run)]
    return leading / leading[:, :1]


def value_ratio(run: Run) -> np.ndarray:
    """max_i sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K."""
    return leading_ratios(run).max(-1)


def slope_at_zero(run: Run) -> float:
    """phi'(0), or the mean of the slopes on both sides of 0."""
    name = run.config.net.activation
    return KINKED.get(name, ACTIVATIONS[name].slope_at_zero)


def centres(run: Run) -> np.ndarray:
    """phi'(0) sigma_i(W_2^T Y X^T), which is 0 for i > K, shape (seed, i)."""
    return slope_at_zero(run) * run.first("target_values")


def off_centre(run: Run) -> np.ndarray:
    """max_i |sigma_i(G_1(0)) - centre of its interval|, shape (seed,)."""
    return np.abs(values(run)[:, 0] - centres(run)).max(-1)


def gap_at_start(run: Run) -> np.ndarray:
    """phi'(0) sigma_K(W_2^T Y X^T), of which r(eps) may be half, shape (seed,)."""
    return centres(run)[:, num_classes(run) - 1]


def smallest_target(run: Run) -> np.ndarray:
    """sigma_K(W_2^T Y X^T), shape (seed,)."""
    return run.first("target_values")[:, num_classes(run) - 1]


def bounded_value(run: Run) -> np.ndarray:
    """sigma_{d-K}(G_1(0)), which Proposition B.1 bounds from below, shape (seed,)."""
    return values(run)[:, 0, -num_classes(run) - 1]


def slopes(found: Sequence[Run]) -> np.ndarray:
    """The slope of the line of log sigma_i(G_1(0)) in log eps, shape (seed, i), from one run for each eps."""
    return _slope(found, lambda run: values(run)[:, 0])


def exponents(found: Sequence[Run], name: str) -> np.ndarray:
    """The slope of the line of log ``first_step`` in log eps, shape (seed,), from one run for each eps."""
    return _slope(found, lambda run: first_step(run, name))


def first_step(run: Run, name: str = "step_distances") -> np.ndarray:
    """||W~_i(1) - W~_i(0)||_F / sqrt p, the largest of i = 2, 3, 4, shape (seed,)."""
    return run.first(name).max(-1)


def _slope(found: Sequence[Run], of: Callable[[Run], np.ndarray]) -> np.ndarray:
    """The slope of the line of log ``of`` in log eps, over all runs."""
    log_scale = np.log([run.config.net.scale for run in found])
    centred = log_scale - log_scale.mean()
    # What is exactly 0 has no logarithm; its slope is then NaN, and no claim holds of it.
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.stack([of(run) for run in found]))
        return np.tensordot(centred / np.sum(centred**2), logs, 1)


def change(run: Run, first: int, last: int) -> np.ndarray:
    """The largest change of ||G_1||_F / ||G_1(0)||_F in a step between these two, shape (seed,)."""
    return np.diff(norm_ratio(run)[:, (run.steps >= first) & (run.steps <= last)], axis=1).max(1)


def leading_rise(run: Run) -> np.ndarray:
    """How far a sigma_i(G_1) / sigma_i(G_1(0)), i <= K, rises above its least value before, at most, shape (seed,)."""
    ratios = leading_ratios(run)
    return (ratios - np.minimum.accumulate(ratios, axis=1)).max((1, 2))


def least_over_leading(run: Run) -> np.ndarray:
    """sigma_d(G_1(0)) / sigma_K(G_1(0)), shape (seed,)."""
    return values(run)[:, 0, -1] / values(run)[:, 0, num_classes(run) - 1]


def excess(run: Run) -> np.ndarray:
    """The largest ratio of a leading value's decay to that of the norm, shape (seed,)."""
    return (value_ratio(run) / norm_ratio(run)).max(1)


def tail_share(run: Run) -> np.ndarray:
    """The largest sigma_{K+1}(G_1(t)) over sigma_K(W_2^T Y X^T), shape (seed,): 1 - G_3 of Assumption 3.4."""
    return tail(run).max(1) / smallest_target(run)


# Both sides of Theorem D.11 and of its lemmas. ------------------------------------------------------------------------


def shares(run: Run, name: str) -> np.ndarray:
    """Each block's share in the squared change of W_1, shape (seed, step, block); NaN at step 0."""
    changed = run.all(name)
    with np.errstate(invalid="ignore"):
        return changed / changed.sum(-1, keepdims=True)


def share(run: Run, name: str, step: int) -> np.ndarray:
    """Block 1's share in the change of W_1 at a step, shape (seed,)."""
    return shares(run, name)[:, index(run, step), 0]


def turned(run: Run) -> np.ndarray:
    """A(t), which is at most sqrt K."""
    return np.maximum(run.all("left_sine"), run.all("right_sine"))


def rotation(run: Run, step: int) -> np.ndarray:
    """A(t) / sqrt K at a step, shape (seed,); 1 is orthogonal to the leading subspaces of t = 0."""
    return turned(run)[:, index(run, step)] / num_classes(run) ** 0.5


def decayed(run: Run) -> np.ndarray:
    """sigma_1(G_1(t)) / sigma_1(G_1(0)) at the first step with A(t) > sqrt K / 2, shape (seed,); NaN without one."""
    far, leading = turned(run) > num_classes(run) ** 0.5 / 2, values(run)[..., 0] / values(run)[:, :1, 0]
    return np.where(far.any(1), leading[np.arange(len(far)), far.argmax(1)], np.nan)


def rate(run: Run) -> np.ndarray:
    """rho(t)."""
    return run.all("step_bound") / run.config.opt.step_size


def first_form(run: Run, name: str = "step_distances") -> Bounded:
    """||W~_i(t+1) - W~_i(t)||_F / sqrt p, the largest of the blocks, and eta rho(t); ``name`` for other blocks.

    No block changes by more than W_1 does in the step, which is eta ||G_1(t)||_F.
    """
    trivial = run.config.opt.step_size * norm(run) / num_small(run) ** 0.5
    return Bounded(run.all(name).max(-1), run.all("step_bound"), trivial)


def equation_17(run: Run) -> Bounded:
    """A(t) and ||G_1(t) - G_1(0)||_F / (sigma_K(G_1(0)) - sigma_{K+1}(G_1(t))), t >= 1; inf where the gap closed."""
    gap = values(run)[:, :1, num_classes(run) - 1] - tail(run)[:, 1:]
    bound = np.where(gap <= 0, np.inf, run.all("gradient_change")[:, 1:] / np.where(gap <= 0, 1, gap))
    return Bounded(turned(run)[:, 1:], bound, num_classes(run) ** 0.5)


def wedin(run: Run) -> Bounded:
    """A(t) and the sharper bound of Lemma D.5's proof, t >= 1."""
    return Bounded(turned(run)[:, 1:], run.all("wedin_bound")[:, 1:], num_classes(run) ** 0.5)


def first_perturbation(run: Run) -> Bounded:
    """``first_step`` and eta r(eps), the bound of Theorem D.11 on it, shape (seed, 1); r(eps) is C_1 eps."""
    eta, p = run.config.opt.step_size, num_small(run)
    bound = eta * run.first("spread")[:, None]
    return Bounded(first_step(run)[:, None], bound, eta * norm(run)[:, :1] / p**0.5)


class Constants(NamedTuple):
    """What the bounds take for gamma_L, phi'(0) sigma_K(W_2^T Y X^T), phi'(0) sigma_1(W_2^T Y X^T) and r(eps).

    All have the shape (seed, 1).
    """

    lipschitz: np.ndarray
    leading: np.ndarray
    largest: np.ndarray
    spread: np.ndarray


def stated(run: Run) -> Constants:
    """The constants of the paper, of smooth networks."""
    centre, K = centres(run), num_classes(run)
    return Constants(run.worst("lipschitz")[:, None], centre[:, K - 1 : K], centre[:, :1], run.first("spread")[:, None])


def measured(run: Run) -> Constants:
    """What the constants of the paper bound, as the run has it; gamma_L and r(eps) of ReLU are infinite.

    They are ``secant``, sigma_K(G_1(0)), sigma_1(G_1(0)) and 0.
    """
    start, K = values(run)[:, 0], num_classes(run)
    return Constants(secant(run)[:, None], start[:, K - 1 : K], start[:, :1], np.zeros((len(start), 1)))


def secant(run: Run) -> np.ndarray:
    """The largest ||G_1(t) - G_1(0)||_F / ||W_1(t) - W_1(0)||_F, t >= 1, which gamma_L bounds, shape (seed,)."""
    moved = np.sqrt(run.all("blocks").sum(-1))
    return (run.all("gradient_change")[:, 1:] / moved[:, 1:]).max(1)


def lemma_d9(run: Run, constants: Callable[[Run], Constants] = stated) -> Bounded:
    """A(t) and delta(t), t >= 1, with the least constants of Assumption 3.4 that hold at every observed step."""
    known, (decay, times) = constants(run), _decay(run)
    start = {"start_norm": norm(run)[:, :1], "step_size": run.config.opt.step_size}
    distance = _each(bounds.distance_bound, **start, decay=decay, num_steps=times)
    given = {"lipschitz": known.lipschitz, "leading": known.leading, "spread": known.spread}
    delta = _each(bounds.alignment_bound, distance=distance, **given, tail=tail(run)[:, 1:])
    return Bounded(turned(run)[:, 1:], delta, num_classes(run) ** 0.5)


def second_form(run: Run, constants: Callable[[Run], Constants] = stated) -> Bounded:
    """rho(t) and the bound on it of the theorem's second form, t >= 1, with the constants of ``lemma_d9``.

    eta rho(t) sqrt p bounds the change of a block, which is at most eta ||G_1(t)||_F.
    """
    known, (decay, times) = constants(run), _decay(run)
    decay = (value_ratio(run) / norm_ratio(run))[:, 1:].max(1, keepdims=True) * decay**times
    bound = ft.partial(bounds.rate_bound, num_small=num_small(run))
    given = {"aligned": lemma_d9(run, constants).bound, "largest": known.largest, "spread": known.spread}
    rates = _each(bound, **given, tail=tail(run)[:, 1:], decay=decay)
    return Bounded(rate(run)[:, 1:], rates, norm(run)[:, 1:] / num_small(run) ** 0.5)


def _decay(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The least q with ||G_1(t)||_F <= q^t ||G_1(0)||_F at every observed t >= 1 (the paper's G_1 = 1), and t."""
    times = run.steps[None, 1:].astype(float)
    return (norm_ratio(run)[:, 1:] ** (1 / times)).max(1, keepdims=True), times


def _each(bound: Callable[..., Any], **numbers: ArrayLike) -> np.ndarray:
    """A bound of the library, which takes numbers, at every place of arrays that broadcast."""
    return np.asarray(jnp.vectorize(lambda *given: bound(**dict(zip(numbers, given, strict=True))))(*numbers.values()))
