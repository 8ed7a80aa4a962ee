"""The figures of both errors' decay: Figures 2 to 4 of Laus et al. 2025, over the rescaled time or the steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.inverse_problems.measures import OFF_SUBSPACE, REGRESSION, decay, predicted
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped
from lawlib.theory import inverse_problems as theory

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "depth": (
        "Regression error and off-subspace error over rescaled time, a row for each weight decay and a curve for "
        "each depth L; medians and ranges over the seeds. The regression error comes to rest at the level that the "
        "decay sets (dotted). The off-subspace error falls like e^(-x), the decay of the first layer alone (dashed), "
        "or faster."
    ),
    "dimension": (
        "Regression error and off-subspace error over rescaled time, a curve for each dimension s of the subspace; "
        "medians and ranges over the seeds. The regression error comes to rest at the level that the decay sets "
        "(dotted). The off-subspace error falls in every dimension at least as fast as e^(-x), the decay of the "
        "first layer alone (dashed)."
    ),
    "decay": (
        "Regression error and off-subspace error over the steps, a curve for each weight decay; medians and ranges "
        "over the seeds. Without decay the regression error falls to floating-point error and the off-subspace error "
        "stays. With more decay the first comes to rest at a higher level (dotted) and the second falls sooner."
    ),
}

UNITS = {"one": "η = {:g}", "curvature": "η = {:g}/λₘₐₓ(P(0))", "theorem": "η = {:g} m/(Lσ²ₘₐₓ)"}
RESCALED_TIME = "x = ηλt"
FLOOR = 1e-16
# What tells the curves of a study apart.
LABELS: dict[str, Callable[[Run], str]] = {
    "dimension": lambda run: f"s = {run.config.data.subspace_dimension}",
    "depth": lambda run: f"L = {run.config.net.depth}",
    "decay": lambda run: f"λ = {decay(run):g}",
}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The figure that the config is for; the printed step size and the compressed samples have none."""
    studied = {study: find(found, study=study) for study in LABELS}
    return {study: _errors(family, LABELS[study]) for study, family in studied.items() if family}


def _errors(family: Sequence[Run], label: Callable[[Run], str]) -> Figure:
    """Regression and off-subspace error, median and range over seeds; Fig. 3 has a row for each weight decay."""
    by_step = family[0].config.study == "decay"
    family = _longest(family) if by_step else family
    decays = [None] if by_step else sorted({decay(run) for run in family})
    drawn = plots.figure(9.0, 3.3 * len(decays) + 0.6)
    drawn.suptitle(_title(family[0]))
    rows = drawn.subplots(len(decays), 2, squeeze=False)
    names = dict.fromkeys(label(run) for run in family)
    looks = dict(zip(names, plots.looks(len(names)), strict=True))
    for row, value in zip(rows, decays, strict=True):
        members = [run for run in family if value in (None, decay(run))]
        for run in members:
            look = looks[label(run)]
            for axes, name in zip(row, ("regression_error", "off_subspace_error"), strict=True):
                _band(axes, run, name, by_step, label=label(run), **look.curve)
            _plateau(row[0], run, by_step, look.colour)
        row[0].set_ylabel(REGRESSION)
        row[1].set_ylabel(OFF_SUBSPACE)
        for axes in row:
            axes.set_xlabel("step t" if by_step else RESCALED_TIME)
            axes.set_yscale("log")
            axes.set_xlim(0, 1.02 * plots.largest([_times(run, by_step) for run in members]))
            if value is not None and len(decays) > 1:
                axes.set_title(f"λ = {value:g}")
        if not by_step:
            _expected_slope(row[1], members)
        row[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return drawn


def _longest(family: Sequence[Run]) -> list[Run]:
    """The longest run of each weight decay."""
    by_decay = grouped(sorted(family, key=_end), decay)
    return [by_decay[value][-1] for value in sorted(by_decay)]


def _end(run: Run) -> float:
    done = run.data.converged_at.values
    return float(np.where(done >= 0, done, run.config.opt.num_steps).min())


def _title(run: Run) -> str:
    config = run.config
    data, net = config.data, config.net
    step = UNITS[config.opt.step_unit].format(config.opt.step_size)
    note = ", by Lanczos (η = 0.1 as printed diverges)" if config.opt.step_unit == "curvature" else ""
    sizes = {"d": data.dimension, "m": data.num_measurements, "$d_w$": net.width}
    sizes |= {} if config.study == "dimension" else {"s": data.subspace_dimension}
    sizes |= {} if config.study == "depth" else {"L": net.depth}
    shape = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    shape += f", λ = {decay(run):g}" if config.study == "dimension" else ""
    return f"{shape}\n{step}{note}; median and range of {config.num_seeds} seeds"


def _band(axes: Axes, run: Run, name: str, by_step: bool, **look: Any) -> None:
    """The median and the range over the seeds, up to where the first member ends."""
    x, values = _times(run, by_step), np.maximum(run.all(name), FLOOR)
    if by_step:
        plots.band(axes, x, values[:, : len(x)], **look)
        axes.set_xscale("symlog", linthresh=10.0)
    else:
        plots.band(axes, x, _at(x, run.all("rescaled_time"), values), **look)


def _times(run: Run, by_step: bool) -> np.ndarray:
    """The steps, or every member's rescaled times, up to where the first member ends.

    Members have step sizes of their own, so that at one step they are at different times, and one may have ended while
    another is not halfway.
    """
    if by_step:
        # One observation more, which shows the end.
        going = np.arange(len(run.steps)) <= np.searchsorted(run.steps, _end(run))
        return np.minimum(run.steps, _end(run))[going]
    times = run.all("rescaled_time")
    whole = times[~run.diverged] if (~run.diverged).any() else times
    known = np.unique(times[np.isfinite(times)])
    return known[known <= np.nanmax(whole, axis=1).min()]


def _at(x: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Every member's values at common times x, on straight lines of the logarithm; NaN beyond a member's own times."""
    members = []
    for own, seen in zip(times, values, strict=True):
        known = np.isfinite(own) & np.isfinite(seen)
        curve = np.interp(x, own[known], np.log(seen[known]), right=np.nan) if known.any() else np.full(x.shape, np.nan)
        members.append(np.exp(curve))
    return np.stack(members)


def _plateau(axes: Axes, run: Run, by_step: bool, colour: str) -> None:
    """The level at which the regression error comes to rest, by the scalar minimizers."""
    if decay(run) == 0 or run.config.data.condition_number != 1:
        return
    level = np.ma.median(np.ma.masked_invalid(predicted(run, theory.plateau)))
    if level is not np.ma.masked:
        axes.axhline(level, color=colour, linestyle=":", linewidth=1.0)


def _expected_slope(axes: Axes, family: Sequence[Run]) -> None:
    """exp(-x), the decay of the first layer alone."""
    longest = max(family, key=lambda run: plots.largest([_times(run, by_step=False)]))
    x = np.linspace(0, plots.largest([_times(longest, by_step=False)]))
    start = float(np.median(longest.first("off_subspace_error")))
    axes.plot(x, start * np.exp(-x), color="black", linestyle="--", linewidth=1.0, label="first layer alone, e^(−x)")
