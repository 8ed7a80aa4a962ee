"""The figures of Theorem A.2, its two phases, and of Corollary 2.6, the test error over the noise."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.inverse_problems.measures import OFF_SUBSPACE, REGRESSION, decay, decayed
from experiments.laws.inverse_problems.theorem.measures import lower_bound, upper_bound
from experiments.runner import plots
from experiments.runner.runs import Run
from lawlib.theory import inverse_problems as theory

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "phases": (
        "Regression error and off-subspace error over the steps, and off-subspace error at the stopping time over "
        "the width; medians and ranges over the seeds for each width. The errors stay below the theorem's bounds "
        "(black). The error at the stopping time falls faster with the width than its bound."
    ),
    "robustness": (
        "Log-log plot of the test error over the noise, with weight decay (blue) and without (orange). With decay "
        "the error follows the oracle map (dotted), below the upper bound. Without decay it is above the lower "
        "bound."
    ),
}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The errors over time with the theorem's bounds, and the test error over sigma with the corollary's."""
    return {"phases": _phases(list(filter(decayed, found))), "robustness": _robustness(found)}


def _phases(family: Sequence[Run]) -> Figure:
    drawn = plots.figure(12.0, 4.0)
    drawn.suptitle(_title(family[0]))
    first, second, ends = drawn.subplots(1, 3)
    for look, run in zip(plots.looks(len(family)), family, strict=True):
        t = np.minimum(run.steps, plots.largest([run.all("stopping_time")]))
        for axes, name in ((first, "regression_error"), (second, "off_subspace_error")):
            plots.band(axes, t, run.all(name), label=f"$d_w$ = {run.config.net.width}", **look.curve)
        size, values = run.config.net.width, run.last("off_subspace_error")
        ends.loglog(np.full(len(values), size), values, linestyle="", markersize=4, **look.points)
    _first_phase(first, family[0])
    second.set(xlabel="step t, to T", ylabel=OFF_SUBSPACE, yscale="log")
    sizes = np.asarray([run.config.net.width for run in family], float)
    ends.loglog(sizes, sizes**-theory.OFF_SUBSPACE_EXPONENT, "k_--", linewidth=1.0, label="bound $d_w^{-3/2}$ (32)")
    ends.set_xticks(sizes, [f"{size:g}" for size in sizes])
    ends.set_xticks([], minor=True)
    ends.set(xlabel="width $d_w$", ylabel="off-subspace error at T")
    # The second panel names the curves of the first one too.
    lines = [line for line in first.get_lines() if not str(line.get_label()).startswith("$d_w$")]
    first.legend(handles=lines, loc="best")
    second.legend()
    ends.legend()
    return drawn


def _first_phase(axes: Axes, run: Run) -> None:
    """The level that ends the first phase, and the rate that bounds it."""
    config, gamma = run.config, _median(run.all("accuracy"))
    level = theory.first_phase_level(gamma=gamma, depth=config.net.depth)
    about = {"depth": config.net.depth, "num_measurements": config.data.num_measurements, "smallest": 1.0}
    rate = theory.rate_bound(step_size=_median(run.all("step_size")), **about)
    t, start = np.geomspace(1, 200, 50), _median(run.first("regression_error"))
    axes.axhline(float(level), color="black", linestyle=":", linewidth=1.0, label="80γ/L (30a)")
    axes.plot(t, start * rate**t, "k--", linewidth=1.0, label="rate bound (31)")
    axes.axhline(gamma, color="grey", linestyle="-.", linewidth=1.0, label="γ")
    axes.set(xlabel="step t", ylabel=REGRESSION, yscale="log")
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlim(0, 1.2 * plots.largest([run.all("stopping_time")]))


def _median(values: np.ndarray) -> float:
    """The median over the members and times that have a number."""
    return float(np.median(values[np.isfinite(values)]))


def _medians(members: np.ndarray) -> np.ndarray:
    """Over the members that are numbers; NaN where none is."""
    return np.ma.median(np.ma.masked_invalid(members), axis=0).filled(np.nan)


def _robustness(found: Sequence[Run]) -> Figure:
    """The widest network with weight decay, and the one without."""
    drawn = plots.figure(7.0, 4.2)
    axes = drawn.subplots()
    regularized = max(filter(decayed, found), key=lambda run: run.config.net.width)
    plain = [run for run in found if not decayed(run)][:1]
    noise = np.asarray(regularized.config.data.noise)
    for colour, run, bound, name in (
        *((plots.COLOURS[1], run, lower_bound, "lower bound (20)") for run in plain),
        (plots.COLOURS[0], regularized, upper_bound, "upper bound (19)"),
    ):
        errors = run.last("test_error")
        label = f"λ = {decay(run):g}, $d_w$ = {run.config.net.width}"
        plots.band(axes, noise, errors, marker="o", color=colour, markersize=3.5, label=label)
        axes.plot(noise, _medians(bound(run)), "--", color=colour, linewidth=1.0, label=f"{name}, constants 1")
    axes.plot(noise, _medians(regularized.first("oracle_error")), "k:", label="oracle map X Y⁺")
    axes.set_xscale("symlog", linthresh=float(noise[noise > 0].min()))
    axes.set_yscale("log")
    axes.set_ylim(bottom=-0.3 * plots.largest([-_medians(regularized.last("test_error"))], default=-1e-3))
    axes.set(xlabel="noise σ in every measurement", ylabel="test error E‖W y − x‖, ‖x‖ = 1")
    axes.set_title(_title(regularized), fontsize=9.0)
    axes.legend()
    return drawn


def _title(run: Run) -> str:
    net, data, opt = run.config.net, run.config.data, run.config.opt
    sizes = f"ntk: d = {data.dimension}, m = {data.num_measurements}, s = {data.subspace_dimension}, L = {net.depth}"
    return f"{sizes}, λ = {decay(run):g}, η = {opt.step_size:g} m/(Lσ²ₘₐₓ); {run.config.num_seeds} seeds"
