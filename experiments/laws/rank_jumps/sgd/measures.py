"""What claims and figures of rank jumps measure: jumps, test errors, and the ratio of singular values around a jump."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.runner.runs import Run, find
from lawlib.theory.rank_jumps_landscape import local_minimum

# A run is on its plateau from the first of these steps on and until so many before its jump, which takes some hundred
# steps; after so many, s2 has fallen for good.
PLATEAU_FROM, BEFORE, AFTER = 1000, 500, 1000
# Between these, sigma_2(W_1) falls in a straight line: below, it meets rounding.
FALLS_FROM, FALLS_TO = 1e-2, 1e-13
# A network whose ||A||_F is below has fallen to rank 0: at rank 1 it is about 1.
GONE = 1e-6

# Runs of the figures' update that are not put back, and what is special of Figure 1's among them.
PLAIN: dict[str, Any] = {"opt__form": "figures", "monitor__put_back": "never", "monitor__imbalance": False}
UNIFORM: dict[str, Any] = {"opt__draws": "with_replacement", "net__init": "uniform"}


def by_branch(found: Sequence[Run], **fields: Any) -> list[Run]:
    """The runs whose config has these values, from the earliest branch to the latest."""
    return sorted(find(found, **fields), key=lambda run: run.config.schedule.branch)


def annealed(found: Sequence[Run]) -> list[Run]:
    """Figure 1's run and its branches, from the earliest to the latest, which is the run itself."""
    return by_branch(found, **PLAIN, **UNIFORM)


def end(run: Run) -> int:
    """The last step of the run; what is observed after it repeats."""
    return run.config.schedule.branch + run.config.schedule.branch_steps


def jump(run: Run) -> np.ndarray:
    """The first step after which s2/s1 stays below 1e-2; infinite where there is none, or where the member diverged."""
    last = run.last("last_above")
    return np.where((last < end(run)) & ~run.diverged, last + 1.0, np.inf)


def jumped(run: Run) -> np.ndarray:
    """Which members have jumped."""
    return np.isfinite(jump(run))


def error(run: Run) -> np.ndarray:
    """The relative test error (1 - eps A_01)^2 at every observation; 1 where the entry is filled with 0."""
    return (1 - run.config.data.epsilon * run.all("product")[..., 0, 1]) ** 2


def fit(run: Run) -> np.ndarray:
    """The mean squared error of the three observed entries at every observation."""
    A = run.all("product")
    return ((A[..., 0, 0] - 1) ** 2 + (A[..., 1, 0] - run.config.data.epsilon) ** 2 + (A[..., 1, 1] - 1) ** 2) / 3


def success(run: Run) -> np.ndarray:
    """Whether the relative test error is below 1/2 at the end; a diverged member has failed."""
    return (error(run)[:, -1] < 0.5) & ~run.diverged


def size(run: Run) -> np.ndarray:
    """||A||_F at the end."""
    return np.linalg.norm(run.last("product"), axis=(1, 2))


def jumped_to_0(run: Run) -> np.ndarray:
    """Which members have jumped once more, from rank 1 to A = 0."""
    return jumped(run) & (size(run) < GONE)


def high_periods(config: ConfigDict) -> list[tuple[int, int]]:
    """The phases of the largest step size, as (first step, end)."""
    ends = np.cumsum([phase[0] for phase in config.schedule.phases]).astype(int)
    sizes = [phase[1] for phase in config.schedule.phases]
    starts = [0, *ends[:-1]]
    return [(int(a), int(b)) for a, b, size in zip(starts, ends, sizes, strict=True) if size == max(sizes)]


def in_high_period(run: Run) -> np.ndarray:
    """Of the members that have jumped, which did so in a period of high rates."""
    when = jump(run)[jumped(run)]
    return np.any([(start <= when) & (when < stop) for start, stop in high_periods(run.config)], axis=0)


def is_late(run: Run) -> np.ndarray:
    """Which members have not jumped when the second period of high rates begins; none where there is no second one."""
    begins = [start for start, _ in high_periods(run.config)][1:2] or [np.inf]
    return (jump(run) >= begins[0]) & (end(run) > begins[0]) & ~run.diverged


def jumped_late(run: Run) -> np.ndarray:
    """Of these members, which jump all the same."""
    return jumped(run)[is_late(run)]


def fit_over_cooled(run: Run) -> np.ndarray:
    """The median ``fit`` over the second half of the time at high rates, over that at the end of the branch."""
    branch = run.config.schedule.branch
    is_hot = (run.steps >= branch / 2) & (run.steps <= branch)
    return np.median(fit(run)[:, is_hot], axis=1) / fit(run)[:, -1]


def critical_ratio(config: ConfigDict) -> float:
    """s2/s1 at the rank-2 minimum of C(A) + lambda' R(A; L), lambda' = lambda/4 of the schedule's tail; NaN if none."""
    ridge = config.schedule.tail[1] / 4
    minimum = local_minimum(config.data.epsilon, ridge=ridge, depth=config.net.depth, rank=2)
    first, second = np.asarray(minimum.singular_values)
    return float(second / first)


def plateau(run: Run) -> np.ndarray:
    """The median s2/s1 on the plateau, of the members whose plateau is long enough."""
    until = np.minimum(jump(run) - BEFORE, run.config.schedule.branch)
    on = (run.steps >= PLATEAU_FROM) & (run.steps <= until[:, None]) & ~run.diverged[:, None]
    ratios = np.where(on, run.all("ratio"), np.nan)
    return np.asarray([np.nanmedian(row) for row in ratios if np.isfinite(row).any()])


def after_jump(run: Run) -> np.ndarray:
    """The largest s2/s1 long after the jump, of the members that have been there."""
    later = run.steps >= jump(run)[:, None] + AFTER
    return np.where(later, run.all("ratio"), -np.inf).max(1)[later.any(1)]


def decline(run: Run) -> np.ndarray:
    """Slope of log sigma_2(W_1) over the steps, of the members that fall all the way before they branch."""
    slopes, until = [], run.config.schedule.branch
    for since, sigma in zip(jump(run), run.all("first_sigma_2"), strict=True):
        falling = (run.steps >= since) & (run.steps <= until) & (sigma < FALLS_FROM) & (sigma > FALLS_TO)
        # The whole way: a run that branches half way down is no measure of it.
        if falling.sum() >= 5 and np.log(sigma[falling].max() / sigma[falling].min()) > 10:
            slopes.append(np.polyfit(run.steps[falling], np.log(sigma[falling]), 1)[0])
    return np.asarray(slopes)
