"""What claims and figures of the law under other optimizers measure, of runs that are cut down to one optimizer."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.laws.parsimony.optimizers.methods import METHODS, is_equivariant, is_reducible
from experiments.runner.runs import Run

# What still is floating-point error, and the least share of sigma_1 that refutes the law: a hundred times as much as
# rounding may reach in float32.
BOUNDS = {"float64": 1e-12, "float32": 2e-4}
MARGIN = 100 * BOUNDS["float32"]
# A distance below its bound says something beside a change of this many times the bound.
TELLING = 100
# A direction has left the law when sigma_{2r+1} exceeds this share of sigma_1.
LEFT = 0.01


def alone(run: Run, name: str) -> Run:
    """The run with the networks of one optimizer alone, without the axis of the optimizers."""
    return run._replace(data=run.data.isel(optimizer=list(run.config.opt.methods).index(name)))


def by_method(found: Sequence[Run], fits: Callable[[str], bool]) -> dict[str, list[Run]]:
    """The runs of each optimizer that fits, each cut down to it."""
    return {
        METHODS[name].title: [alone(run, name) for run in found if name in run.config.opt.methods]
        for name in METHODS
        if fits(name) and any(name in run.config.opt.methods for run in found)
    }


def equivariant(found: Sequence[Run]) -> Mapping[str, Sequence[Run]]:
    """The runs of each optimizer that commutes with rotations."""
    return by_method(found, is_equivariant)


def reducible(found: Sequence[Run]) -> Mapping[str, Sequence[Run]]:
    """The runs of each optimizer with a small network."""
    return by_method(found, is_reducible)


def named(*names: str) -> Callable[[Sequence[Run]], Mapping[str, Sequence[Run]]]:
    """The runs of each of these optimizers."""
    return lambda found: by_method(found, lambda name: name in names)


# Of one optimizer. ----------------------------------------------------------------------------------------------------


def deviations(run: Run, name: str) -> np.ndarray:
    """A distance from the law, shape (seed, step, layer); on digits relative to sigma_1 of the layer at that step."""
    values = run.all(name)
    return values / run.all("singular_values")[..., 0] if run.config.data.source == "digits" else values


def deviation(run: Run, name: str) -> np.ndarray:
    """Each member's largest distance from the law over layers and steps, shape (seed,)."""
    return deviations(run, name).max((1, 2))


def moved(run: Run) -> np.ndarray:
    """The largest sigma_1(W(t) - (c(t)/eps) W(0)), in the layer with the least, on digits / sigma_1, shape (seed,)."""
    return deviations(run, "movement").max(1).min(1)


def moved_share(run: Run) -> np.ndarray:
    """The same relative to sigma_1 of the layer at that step, shape (seed,)."""
    return (run.all("movement") / run.all("singular_values")[..., 0]).max(1).min(1)


def off_recursion(run: Run) -> np.ndarray:
    """The largest |c_l(t) - rho_l(t)|, on digits relative to sigma_1, shape (seed,)."""
    apart = np.abs(run.all("idle_value") - run.all("predicted_idle_value"))
    size = run.all("singular_values")[..., 0] if run.config.data.source == "digits" else 1
    return (apart / size).max((1, 2))


def num_moved(run: Run) -> np.ndarray:
    """How many singular values differ from |c| at the end, in the layer farthest from 2r, shape (seed,)."""
    active, moved = 2 * run.config.data.rank, run.last("num_moved")
    return np.where(active - moved.min(1) > moved.max(1) - active, moved.min(1), moved.max(1))


def certified(run: Run) -> np.ndarray:
    """(s_{2r+1} - s_{d-2r}) / (2 s_1) of the layer with the largest at the end, shape (seed,).

    By Weyl's inequalities no multiple c of W(0), an isometry times eps, has sigma_{2r+1}(W - c W(0)) below this times
    sigma_1(W).
    """
    s, active = run.last("singular_values"), 2 * run.config.data.rank
    return ((s[..., active] - s[..., s.shape[-1] - active - 1]) / (2 * s[..., 0])).max(1)


def share(run: Run) -> np.ndarray:
    """sigma_{2r+1} over sigma_1 of W(t) - (c/eps) W(0), the largest over layers, shape (seed, step); 0 at the start."""
    moved = run.all("movement")
    ratio = np.where(moved > 1e-9, run.all("excess") / np.maximum(moved, 1e-9), np.where(np.isnan(moved), np.nan, 0))
    return ratio.max(2)


def left_at(run: Run) -> np.ndarray:
    """The first observed step at which sigma_{2r+1} exceeds ``LEFT`` sigma_1(W) in a layer, shape (seed,), or inf."""
    gone = (run.all("excess") > LEFT * run.all("singular_values")[..., 0]).any(2)
    return np.where(gone.any(1), run.steps[gone.argmax(1)], np.inf)
