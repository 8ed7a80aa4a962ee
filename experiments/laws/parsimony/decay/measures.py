"""What claims and figures of weight decay measure: rates of idle values, and which singular values are kept."""

from collections.abc import Sequence

import numpy as np

from experiments.runner.runs import Run, grouped
from lawlib.theory.parsimony_decay import critical_value, idle_decay, idle_decay_error, kept_decay, kept_value

# Below this, rounding errors of the largest singular value, 1e-16 to 1e-15, are no longer small beside the idle one.
LEAST_IDLE = 1e-6
# In Case 1 the rate is measured where rho^{2L-2} < SLOW lambda: it is then within SLOW of log(1 - eta lambda).
SLOW = 1e-4
# A deviation below its bound says something beside a change of this many times the bound.
TELLING = 100


def is_case_1(run: Run) -> bool:
    """Whether the target is square."""
    return run.config.data.case == 1


def decay_of(run: Run) -> float:
    """The run's lambda."""
    net, data = run.config.net, run.config.data
    return run.config.opt.decay_ratio * kept_decay(data.spectrum[0], scale=net.scale, depth=net.depth)


def thresholds(run: Run) -> list[float]:
    """The largest lambda that keeps each singular value from an aligned start, in units of the first one's."""
    net, values = run.config.net, run.config.data.spectrum
    kept = [kept_decay(value, scale=net.scale, depth=net.depth) for value in values]
    return [each / kept[0] for each in kept]


def is_followed(run: Run) -> bool:
    """Whether the scalar dynamics says which singular values are kept.

    It does from an aligned start. An independent start turns towards the target before it shrinks to the largest root
    if it is as large as sigma_1^{1/L}.
    """
    net = run.config.net
    return net.start == "aligned" or net.scale**net.depth >= run.config.data.spectrum[0]


def rho_of(run: Run) -> np.ndarray:
    """rho(t), which is the same for all seeds, shape (step,); NaN from where the last of them has diverged."""
    whole = np.flatnonzero(~run.diverged)
    return run.all("rho")[whole[0]] if whole.size else np.fmax.reduce(run.all("rho"))


def seen(run: Run) -> np.ndarray:
    """Whether rho is above ``LEAST_IDLE``, shape (step,)."""
    return rho_of(run) > LEAST_IDLE


def is_seen(run: Run) -> np.ndarray:
    """Whether an idle value can be ``seen`` at some step, of each member, shape (seed,)."""
    return np.full(run.num_seeds, seen(run).any())


def idle_deviation(run: Run) -> np.ndarray:
    """The largest |idle singular value / rho - 1| while it can be ``seen``, shape (seed,)."""
    return run.all("idle_deviation")[:, seen(run)].max((1, 2), initial=0.0)


def leading_deviation(run: Run) -> np.ndarray:
    """The largest |sigma_i / rho - 1|, i <= r, while rho can be ``seen``, the least over layers, shape (seed,)."""
    leading, rho = run.all("leading_values")[:, seen(run)], rho_of(run)[seen(run)]
    return np.abs(leading / rho[:, None, None] - 1).max((1, 3), initial=0.0).min(1)


def window(run: Run) -> np.ndarray:
    """The observations of which the rate is measured, shape (_,).

    Idle values can be ``seen``, and in Case 1 rho^{2L-2} < ``SLOW`` lambda.
    """
    slow = rho_of(run) ** (2 * run.config.net.depth - 2) < SLOW * decay_of(run)
    return np.flatnonzero(seen(run) & (slow | (not is_case_1(run))))


def has_rate(run: Run) -> np.ndarray:
    """Whether a rate can be measured, of each member, shape (seed,)."""
    return np.full(run.num_seeds, len(window(run)) > 1)


def off_rate(run: Run) -> np.ndarray:
    """|measured / predicted - 1| of the rate at which the idle values fall, in the layer farthest off, shape (seed,).

    The predicted rate is log(1 - eta lambda); the measured one is that of the mean idle value from the first to the
    last observation of the ``window``. Empty without two of them.
    """
    if not has_rate(run).any():
        return np.empty(0)
    first, last = window(run)[[0, -1]]
    values = run.all("idle_value")
    measured = np.log(values[:, last] / values[:, first]) / (run.steps[last] - run.steps[first])
    return np.abs(measured / np.log1p(-run.config.opt.step_size * decay_of(run)) - 1).max(1)


def is_decay(run: Run) -> bool:
    """Whether rho keeps its sign: eta lambda < 1 and, in Case 1, eta eps^(2L-2) < 1 - eta lambda."""
    net, eta = run.config.net, run.config.opt.step_size
    pull = eta * net.scale ** (2 * net.depth - 2) if is_case_1(run) else 0.0
    return pull < 1 - eta * decay_of(run)


def closed_form(run: Run) -> np.ndarray:
    """The closed form for rho of Case 1 at every observation, shape (step,); NaN unless it ``is_decay``."""
    return idle_decay(run.steps, **_setting(run)) if is_decay(run) else np.full(len(run.steps), np.nan)


def closed_form_error(run: Run) -> float:
    """The bound on |log(idle value / closed form)|; NaN unless it ``is_decay``."""
    return idle_decay_error(**_setting(run)) if is_decay(run) else np.nan


def off_closed_form(run: Run) -> np.ndarray:
    """The largest |log(idle value / closed form)| while it can be ``seen``, over its bound, shape (seed,)."""
    ratios = run.all("idle_value")[:, seen(run)] / closed_form(run)[seen(run)][:, None]
    return np.abs(np.log(ratios)).max((1, 2), initial=0.0) / closed_form_error(run)


def fall_over_error(run: Run) -> np.ndarray:
    """log(eps / idle value) at the last step at which it can be ``seen``, over the same bound, shape (seed,)."""
    values = run.all("idle_value")[:, seen(run)]
    return np.log(run.config.net.scale / values).max((1, 2), initial=0.0) / closed_form_error(run)


def _setting(run: Run) -> dict:
    net = run.config.net
    return {
        "scale": net.scale,
        "depth": net.depth,
        "step_size": run.config.opt.step_size,
        "weight_decay": decay_of(run),
    }


def predicted_values(run: Run) -> np.ndarray:
    """The singular value that each layer keeps for each one of the target, 0 for one that is lost, shape (index,)."""
    net = run.config.net
    about = {"weight_decay": decay_of(run), "scale": net.scale, "depth": net.depth}
    return np.array([kept_value(value, **about) for value in run.config.data.spectrum])


def off_prediction(run: Run) -> np.ndarray:
    """The largest difference of a layer's leading values at the end from the predicted ones, shape (seed,)."""
    return np.abs(run.last("leading_values") - predicted_values(run)).max((1, 2))


def largest_left(run: Run) -> np.ndarray:
    """The largest singular value at the end, of all layers (Case 2: l < L) and of W_{L:1}, shape (seed,)."""
    return np.maximum(run.last("leading_values").max((1, 2)), run.last("product_values").max(1))


def over_fold(run: Run) -> np.ndarray:
    """sigma_1 at the end over w*, below which no layer keeps it, in the layer with the least, shape (seed,)."""
    least = critical_value(run.config.data.spectrum[0], depth=run.config.net.depth)
    return run.last("leading_values")[..., 0].min(1) / least


def largest_kept(found: Sequence[Run]) -> dict[str, np.ndarray]:
    """The largest decay ratio at which each member keeps sigma_1 in W_{L:1}, by variant; 0 if it is kept at none."""
    return {
        variant: np.max([run.config.opt.decay_ratio * (run.last("product_values")[:, 0] > 1e-3) for run in family], 0)
        for variant, family in grouped(found, lambda run: run.variant).items()
    }
