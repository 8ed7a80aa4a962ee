"""What claims and figures of progressive collapse measure: the separation after every layer and its best line."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.runner.runs import Run
from lawlib.theory import collapse as theory


class Fit(NamedTuple):
    """The least-squares line log D_l = log D + l log rate, one for each row of separations."""

    start: np.ndarray
    rate: np.ndarray
    r_squared: np.ndarray


def fit(separations: np.ndarray) -> Fit:
    """Fit a line to log D_l against l = 0, ..., L-1, the last axis; R^2 is that of the logarithms."""
    log = np.log(separations)
    layers = np.arange(log.shape[-1]) - (log.shape[-1] - 1) / 2
    mean = log.mean(-1, keepdims=True)
    slope = (log - mean) @ layers / (layers @ layers)
    residual = log - mean - slope[..., None] * layers
    r_squared = 1 - (residual**2).sum(-1) / ((log - mean) ** 2).sum(-1)
    return Fit(np.exp(mean[..., 0] + slope * layers[0]), np.exp(slope), r_squared)


def ended(run: Run) -> np.ndarray:
    """Which members reached their tolerance; where it is 0, all that did not diverge."""
    at_end = (run.config.opt.tolerance == 0) & ~run.diverged
    return (run.data.converged_at.values >= 0) | at_end


def fraction_ended(run: Run) -> np.ndarray | None:
    """For each member whether it reached its tolerance; None where there is none to reach."""
    return ended(run).astype(float) if run.config.opt.tolerance > 0 else None


def separation(run: Run) -> np.ndarray:
    """D_l at the end, shape (seed, L); NaN for a member that did not reach its tolerance."""
    return np.where(ended(run)[:, None], run.last("separation"), np.nan)


def separation_ended(run: Run) -> np.ndarray:
    """D_l at the end of the members that reached their tolerance, shape (members, L)."""
    return run.last("separation")[ended(run)]


def ratios(run: Run) -> np.ndarray:
    """D_{l+1} / D_l, shape (seed, L - 1)."""
    return separation(run)[:, 1:] / separation(run)[:, :-1]


def law(run: Run) -> float:
    """The rate eps^2 / n^{1/L} of linear networks."""
    net, n = run.config.net, run.config.data.samples_per_class
    return float(theory.decay_rate(scale=net.scale, samples_per_class=n, depth=net.depth))


def is_lawful(run: Run) -> bool:
    """Whether the law speaks of the run: linear networks, orthogonal inputs and an orthogonal start."""
    net = run.config.net
    is_orthogonal = run.config.data.source == "orthogonal" and net.init in ("orthogonal", "corollary")
    return is_orthogonal and net.activation == "linear"


def bound(run: Run) -> float:
    """Theorem 2's bound on the ratios."""
    return float(theory.ratio_bound(scale=run.config.net.scale, num_classes=run.config.data.num_classes))


def largest_scale(run: Run) -> float:
    """The largest eps of Theorem 2."""
    net, data = run.config.net, run.config.data
    classes = {"num_classes": data.num_classes, "samples_per_class": data.samples_per_class}
    return theory.largest_scale(width=net.width, depth=net.depth, **classes)


def initial_separation(run: Run) -> float:
    """D_0 of orthogonal inputs."""
    data = run.config.data
    return theory.initial_separation(samples_per_class=data.samples_per_class, num_classes=data.num_classes)


def of_bound(run: Run) -> np.ndarray:
    """The largest D_{l+1} / D_l of every member over Theorem 2's bound."""
    return ratios(run).max(1) / bound(run)


def is_descent(run: Run) -> bool:
    """Whether the run is one of gradient descent; Theorem 2's study alone follows the flow too."""
    return run.config.study != "theorem" or run.config.opt.method == "descent"


def off_balance(run: Run) -> np.ndarray:
    """The largest imbalance of the hidden layers over eps^2; Theorem 2 asks for 0."""
    return run.last("imbalance")[:, :-1].max(1) / run.config.net.scale**2


def last_imbalance(run: Run) -> np.ndarray:
    """The imbalance of the last two layers over the largest of Theorem 2, eps^2 sqrt(d - K)."""
    net, K = run.config.net, run.config.data.num_classes
    return run.last("imbalance")[:, -1] / (net.scale**2 * (net.width - K) ** 0.5)


def rates(found: Sequence[Run]) -> np.ndarray:
    """The rate of every member's line, shape (run, seed), from the largest eps to the smallest."""
    return np.stack([fit(separation(run)).rate for run in sorted(found, key=lambda run: -run.config.net.scale)])
