"""What claims and figures of both errors' decay measure: plateaus, slopes, and depths at common times."""

import functools as ft
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.laws.inverse_problems.measures import decay, only
from experiments.runner.runs import Run

# Where the regression error is at rest, and between which times the off-subspace error depends on the depth.
AT_REST, EARLY = 8.0, (0.1, 0.5)
# The slopes of Figure 2 are those of log ||W P_perp|| from here on.
SLOPE_FROM = 0.5


def predicted(run: Run, formula: Callable[..., Any]) -> np.ndarray:
    """``theory.plateau`` or ``theory.plateau_estimate`` of every member."""
    rho, depth = jnp.asarray(run.first("measured_values")), run.config.net.depth
    return np.asarray(_of_members(rho, jnp.asarray(decay(run)), formula=formula, depth=depth))


@ft.partial(jax.jit, static_argnames=("formula", "depth"))
def _of_members(rho: jax.Array, decay: jax.Array, *, formula: Callable[..., Any], depth: int) -> jax.Array:
    return jax.vmap(lambda values: formula(values, weight_decay=decay, depth=depth))(rho)


def settles(run: Run) -> bool:
    """Whether a run with decay and kappa = 1 is long enough by its config for the regression error to come to rest."""
    opt = run.config.opt
    own = decay(run) / opt.rescaling_decay if opt.rescaling_decay else 1.0
    is_long = opt.horizon == 0 or opt.horizon * own >= 0.999 * AT_REST
    return decay(run) > 0 and run.config.data.condition_number == 1 and is_long


def settled(run: Run) -> np.ndarray:
    """Which members came to rest, or diverged."""
    return (run.last("rescaled_time") >= 0.999 * AT_REST) | run.diverged


def at_rest(of: Callable[[Run], np.ndarray]) -> Callable[[Run], np.ndarray]:
    """A measure of the members that came to rest."""
    return lambda run: of(only(run, settled(run)))


def medians(found: Sequence[Run], name: str) -> np.ndarray:
    """The median over the seeds, shape (run, step)."""
    return np.stack([np.median(run.all(name), axis=0) for run in found])


def slope(run: Run) -> float:
    """The slope of the log of the median off-subspace error in the median x; NaN where a member diverged."""
    x, errors = (medians([run], name)[0] for name in ("rescaled_time", "off_subspace_error"))
    chosen = x >= SLOPE_FROM
    return float(np.polyfit(x[chosen], np.log(errors[chosen]), 1)[0]) if np.isfinite(x[-1]) else np.nan


def deeper_over_shallower(found: Sequence[Run]) -> np.ndarray:
    """Every member's off-subspace error over that of the next run, at common times x; the largest, run after run."""
    grid = np.linspace(*EARLY, 41)
    logs = []
    for run in found:
        members = zip(run.all("rescaled_time"), run.all("off_subspace_error"), strict=True)
        logs.append(np.stack([np.interp(grid, x, np.log(errors)) for x, errors in members]))
    return np.exp(np.concatenate([deep - shallow for deep, shallow in itertools.pairwise(logs)]).max(1))
