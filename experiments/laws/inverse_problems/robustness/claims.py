"""The claims on noise robustness: Figures 1a and 1b of Laus et al. 2025, and the digits."""

import functools as ft
from collections.abc import Sequence

import numpy as np

from experiments.laws.inverse_problems.common import PAPER
from experiments.laws.inverse_problems.measures import columns, decayed, first_layer_laws, uncovered
from experiments.runner.laws import Source, across, measure
from experiments.runner.runs import Run, find, where
from lawlib.theory import inverse_problems as theory

# The weight decay that the bounds of Figure 1a are stated for, and all that the configs sweep.
ROBUST, DECAYS = 1e-2, (1e-4, 1e-3, 1e-2, 3e-2)
# The figures' own length eta t; a shorter run is still close to its start.
TRAINED = 100.0


def trained(found: Sequence[Run]) -> str:
    """Runs as long as the figure's; with a step size in units of the curvature, of any length."""
    lengths = [run.config.opt.num_steps * run.config.opt.step_size for run in find(found, opt__step_unit="one")]
    shortest = min(lengths, default=TRAINED)
    return f"runs to eta t = {shortest:g}, of {TRAINED:g} needed" if shortest < TRAINED * (1 - 1e-9) else ""


def with_and_without(found: Sequence[Run]) -> str:
    """Runs with and without weight decay."""
    return "" if {decayed(run) for run in found} == {False, True} else "it compares runs with and without weight decay"


def from_noise(run: Run, name: str, least: float) -> np.ndarray:
    """A test error at the end, of every member at every sigma from ``least`` on, shape (seed, sigma)."""
    return run.last(name)[:, np.asarray(run.config.data.noise) >= least * (1 - 1e-9)]


def at_noise(run: Run, level: float) -> np.ndarray:
    """The test error at the end at this sigma, shape (seed, 1); (seed, 0) where the config lacks it."""
    return run.last("test_error")[:, np.isclose(run.config.data.noise, level)]


def over_oracle(run: Run, least: float) -> np.ndarray:
    """The test error over that of the map that knows the subspace, at every sigma from ``least`` on."""
    return from_noise(run, "test_error", least) / from_noise(run, "oracle_error", least)


def gain(plain: Run, decayed: Run) -> np.ndarray:
    """The test error of a run over that of another with the same seeds, at every sigma >= 0.1."""
    return from_noise(plain, "test_error", 0.1) / from_noise(decayed, "test_error", 0.1)


def outside(run: Run) -> float:
    """||W P_perp||_F of a network that keeps its start there: sqrt(d (m-s) / m)."""
    names = ("dimension", "num_measurements", "subspace_dimension")
    return theory.unregularized_norm(**{name: run.config.data[name] for name in names})


def off_noise(run: Run) -> np.ndarray:
    """How far the test error over sigma is from that norm, relative, at every sigma >= 0.05."""
    sigma = np.asarray([level for level in run.config.data.noise if level >= 0.05])
    return np.abs(from_noise(run, "test_error", 0.05) / sigma / outside(run) - 1)


@across
def best_gain(found: Sequence[Run]) -> np.ndarray:
    """The largest gain over all weight decays, of every member at every sigma."""
    without = next(run for run in found if not decayed(run))
    return np.max([gain(without, run) for run in filter(decayed, found)], axis=0)


@across
def gain_at_one(found: Sequence[Run]) -> np.ndarray:
    """The gain where the noise is as large as the measurements of a signal of norm 1."""
    return np.divide(*(at_noise(run, run.config.data.num_measurements**-0.5) for run in found))


as_printed = where(data__dimension=200, data__num_measurements=100, data__subspace_dimension=5)
plain, robust = where(opt__weight_decay=0.0), where(opt__weight_decay=ROBUST)
off_norm = measure(lambda run: np.abs(run.last("outside_norm") / outside(run) - 1))
near_oracle = measure(lambda run: over_oracle(run, 0.05))
gained = across(lambda found: gain(*found))

F1A, F1B, DIGITS = (
    Source(paper=PAPER, figure=figure, of=where(study=study))
    for figure, study in (("Fig. 1a", "robustness"), ("Fig. 1b", "union"), ("Fig. 1a on real data", "digits"))
)
NORM = "lambda = 0: | ||W P_perp||_F / sqrt(d (m-s) / m) - 1 |"
ERROR = "lambda = 0: | test error / (sigma sqrt(d (m-s) / m)) - 1 |, every sigma >= 0.05"
ORACLE = f"lambda = {ROBUST:g}: test error over that of the oracle map X Y^+, every sigma >= 0.05"
GAIN = "test error with lambda = 0 over that with"
GAIN_AT_ONE = f"{GAIN} lambda = {ROBUST:g} at relative noise 1 (||noise|| ~ ||y||)"
BEST = f"{GAIN} the best lambda, every sigma >= 0.1"

LAWS = (
    F1A.law("F1a.norm", NORM, off_norm < 0.06, plain, needs=(trained,)),
    F1A.law("F1a.error", ERROR, measure(off_noise) < 0.06, plain, needs=(trained,)),
    F1A.law("F1a.oracle", ORACLE, near_oracle < 1.15, robust, needs=(trained,)),
    F1A.law(
        "F1a.gain", f"{GAIN} lambda = {ROBUST:g}, every sigma >= 0.1", gained > 4.0, (plain, robust), needs=(trained,)
    ),
    F1B.law("F1b.gain", GAIN_AT_ONE, gain_at_one > 1.3, (plain, robust), needs=(trained,)),
    DIGITS.law("digits.gain", BEST, best_gain > 1.0, needs=(with_and_without, trained)),
    *first_layer_laws("Fig. 1a", where(study=lambda study: study != "union")),
    uncovered("Fig. 1a", where(study="robustness"), as_printed),
)
SUMMARY = columns("isometry", "decay") | {
    "test error without noise": lambda run: at_noise(run, 0.0),
    "test error / that of the oracle map, largest over sigma >= 0.1": lambda run: over_oracle(run, 0.1).max(
        1, initial=-np.inf
    ),
    "condition number of X": lambda run: (
        np.divide(*run.first("signal_values")[:, [0, -1]].T) if "signal_values" in run.data else None
    ),
}


def smallest_gain(value: float, found: Sequence[Run]) -> np.ndarray | None:
    """Every member's smallest gain by this weight decay over sigma >= 0.1."""
    pair = _compared(found, value)
    return gain(*pair).min(1, initial=np.inf) if pair else None


def gain_at_sigma_one(found: Sequence[Run]) -> np.ndarray | None:
    """The gain by the weight decay of Figure 1b where every measurement has noise of sigma = 1."""
    pair = _compared(find(found, study="union"), ROBUST)
    return np.divide(*(at_noise(run, 1.0) for run in pair)) if pair else None


def _compared(found: Sequence[Run], value: float) -> list[Run]:
    """The runs without decay and with this one; empty where one is missing or they are too short."""
    pair = [run for each in (0.0, value) for run in find(found, opt__weight_decay=each)[:1]]
    return [] if len(pair) < 2 or trained(pair) else pair


COMPARISONS = {f"{GAIN} lambda = {value:g}, sigma >= 0.1": ft.partial(smallest_gain, value) for value in DECAYS}
COMPARISONS |= {f"union: {GAIN} lambda = {ROBUST:g} at sigma = 1 in every measurement": gain_at_sigma_one}
