"""The figures of rank jumps: Figures 1 to 4 of Wang and Jacot 2024, with the frequencies behind the drawn runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.laws.rank_jumps.sgd.measures import PLAIN, annealed, end, error, fit, high_periods, jump, success
from experiments.runner import plots
from experiments.runner.claims import wilson
from experiments.runner.runs import Run, find, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "branches": (
        "One run and its branches over the steps in three panels: error on the observed entries, error on the "
        "missing entry, and ratio of the singular values. A branch of small rates that begins before the jump "
        "(dotted line) fits what is observed and misses the missing entry. One that begins after the jump finds it."
    ),
    "jump_times": (
        "Fraction of the runs that has jumped by each step, with its interval of 95%, for three variants. With "
        "entries drawn with replacement nearly all runs jump in time, whatever the initial weights. Without "
        "replacement none does."
    ),
    "one_way": (
        "Ratio s_2 / s_1 over the steps on a log axis, of some runs that a monitor puts back when they fall too low: "
        "to a small ratio (left), and to rank 2 (right, the control). Once low, no run returns above the dashed "
        "line. In the control runs are above it until they jump again."
    ),
    "decline": (
        "Semi-log plot of sigma_2(W_1) and of s_2 / s_1 over the steps since the jump, a line for each run. Both "
        "fall exponentially to floating-point error; the dashed line has the slope (1 - eta lambda)^t that is "
        "predicted for sigma_2(W_1)."
    ),
    "depth": (
        "Error on the observed entries, error on the missing entry, ratio of the singular values, and fraction of "
        "the runs that has jumped, over the steps, for two depths. Most networks of four layers jump before the "
        "rates are lowered (dotted line) and then find the missing entry. Those of three layers do not jump, and fit "
        "the observed entries alone."
    ),
    "epsilon": (
        "Relative test error over eps, and fraction of the runs that succeed over the steps t_0 at large rates. The "
        "smaller eps, the longer a run has to stay at large rates; at the smallest eps hardly any run succeeds."
    ),
    "periodic": (
        "Relative test error and ratio of the singular values of some runs over the steps, with a histogram of all "
        "jumps; periods of large rates are shaded. Every jump is in a shaded period. After it, each period of small "
        "rates lowers the test error."
    ),
}

BLUE, RED, GREEN, PINK, ORANGE, SKY = plots.COLOURS
ERROR, RATIO, STEP = "relative test error", "$s_2/s_1$ of A", "step t"
SHOWN = 5
FLOOR = 1e-17


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The figure that the config names as its study, with the frequencies among all members."""
    drawn = {"annealing": _annealing, "depth": _depth, "epsilon": _epsilon, "periodic": _periodic}
    # What is observed after a run's end repeats.
    ours = [run._replace(data=run.data.sel(step=slice(None, end(run)))) for run in found]
    return drawn[found[0].config.study](ours)


# Figure 1. ------------------------------------------------------------------------------------------------------------


def _annealing(found: Sequence[Run]) -> dict[str, Figure]:
    family = annealed(found)
    drawn = {"branches": _branches(family)} if family else {}
    labels = ("with replacement", "without replacement", "N(0, 1/w) weights")
    others = {"opt__draws": "without_replacement"}, {"net__init": "normal"}
    sides = family[-1:], *(find(found, **PLAIN, **fields) for fields in others)
    compared = [(label, run) for label, side in zip(labels, sides, strict=True) for run in side]
    return drawn | ({"jump_times": _jump_times(compared)} if compared else {}) | _monitors(found)


def _branches(family: Sequence[Run]) -> Figure:
    """One run and its branches: the fit, the missing entry, and the ratio of singular values that tells them apart."""
    main, seed = family[-1], _typical(family[-1])
    drawn = plots.figure(9.0, 6.6)
    rows = drawn.subplots(3, 1, sharex=True)
    when, on = jump(main)[seed], main.steps <= main.config.schedule.branch
    for axes, measure in ((rows[0], fit), (rows[1], error)):
        axes.semilogy(main.steps[on], np.maximum(measure(main)[seed, on], FLOOR), color=SKY, linewidth=0.9)
        for run in family:
            t0 = run.config.schedule.branch
            steps, values = run.steps[run.steps >= t0], measure(run)[seed, run.steps >= t0]
            axes.semilogy(steps, np.maximum(values, FLOOR), color=BLUE if t0 < when else GREEN, linewidth=1.3)
    rows[2].semilogy(main.steps[on], np.maximum(main.all("ratio")[seed, on], FLOOR), color=RED)
    for axes, label in zip(rows, ("mean squared error\nof the observed entries", ERROR, RATIO), strict=True):
        axes.set_ylabel(label)
        if np.isfinite(when):
            axes.axvline(when, color="black", linestyle=":", linewidth=1.0)
    rows[-1].set_xlabel(STEP)
    names = ("large η and λ", "branch begun before the jump", "branch begun after it", "$s_2/s_1$", "jump")
    looks = ((SKY, "-"), (BLUE, "-"), (GREEN, "-"), (RED, "-"), ("black", ":"))
    handles = [Line2D([], [], color=c, ls=s, label=n) for n, (c, s) in zip(names, looks, strict=True)]
    drawn.legend(handles=handles, loc="outside upper center", ncols=5)
    return drawn


def _typical(run: Run) -> int:
    """The seed whose jump is nearest the median of those that jump."""
    when = np.where(np.isfinite(jump(run)), jump(run), np.nan)
    return 0 if np.isnan(when).all() else int(np.nanargmin(np.abs(when - np.nanmedian(when))))


def _jump_times(compared: Sequence[tuple[str, Run]]) -> Figure:
    """What fraction of the members has jumped by each step, within its interval of 95%."""
    drawn = plots.figure(6.4, 3.6)
    axes = drawn.subplots()
    # Dashed, since curves may coincide: the drawn entries decide when a run jumps.
    for place, (look, (label, run)) in enumerate(zip(plots.looks(len(compared)), compared, strict=True)):
        own = look._replace(line=(0, (4, 2))) if place == 2 else look
        _fraction_jumped(axes, run, own, f"{label} ({run.num_seeds} runs)")
    axes.set_xlabel(STEP)
    axes.set_ylabel("fraction of the runs that has jumped")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="best")
    return drawn


def _fraction_jumped(axes: Axes, run: Run, look: plots.Look, label: str) -> None:
    branch = run.config.schedule.branch
    steps = np.arange(0, branch + 1, max(1, branch // 400))
    low, middle, high = np.asarray([wilson(jump(run) <= step) for step in steps]).T
    axes.plot(steps, middle, label=label, **look.curve)
    axes.fill_between(steps, low, high, color=look.colour, alpha=0.15, linewidth=0)


def _monitors(found: Sequence[Run]) -> dict[str, Figure]:
    """The monitor of returns and its control, and the decline of sigma_2(W_1) with its law."""
    low, high = find(found, monitor__put_back="low"), find(found, monitor__put_back="high")
    if not (low and high):
        return {}
    drawn = plots.figure(9.6, 3.6)
    left, right = drawn.subplots(1, 2, sharey=True)
    for axes, run, title in (
        (left, low[0], "put back to $s_2/s_1 < 10^{-3}$"),
        (right, high[0], "control: put back to rank 2"),
    ):
        shown, reported = plots.some(run.num_seeds, SHOWN, "runs")
        for look, seed in zip(plots.looks(len(shown)), shown, strict=True):
            axes.semilogy(run.steps, np.maximum(run.all("ratio")[seed], FLOOR), linewidth=0.8, **look.curve)
        axes.axhline(0.05, color="black", linestyle="--", linewidth=1.0, label="a return: above 0.05")
        axes.set_xlabel(STEP)
        axes.set_title(f"{title}\n{reported}", fontsize=9)
    left.set_ylabel(RATIO)
    left.legend(loc="upper right")
    family = annealed(found)
    return {"one_way": drawn} | ({"decline": _decline(family[-1])} if family else {})


def _decline(run: Run) -> Figure:
    """sigma_2(W_1) and s2/s1 of A from each run's jump on, with (1 - eta lambda)^t."""
    drawn = plots.figure(6.4, 3.8)
    axes = drawn.subplots()
    (eta, decay), branch = run.config.schedule.tail, run.config.schedule.branch
    since, when = np.linspace(0, 1800, 60), jump(run)
    for seed in np.flatnonzero(when + 2500 <= branch):
        on = (run.steps >= when[seed] - 500) & (run.steps <= min(when[seed] + 2500, branch))
        for name, colour in (("first_sigma_2", BLUE), ("ratio", RED)):
            values = np.maximum(run.all(name)[seed, on], FLOOR)
            axes.semilogy(run.steps[on] - when[seed], values, color=colour, linewidth=0.6, alpha=0.5)
    axes.semilogy(since, 0.1 * (1 - eta * decay) ** since, color="black", linestyle="--")
    axes.set_xlabel("steps since the jump")
    axes.set_ylabel("singular values")
    names = ("$σ_2(W_1)$, every run", RATIO, "slope of $(1 - ηλ)^t$")
    looks = zip(names, (BLUE, RED, "black"), ("-", "-", "--"), strict=True)
    axes.legend(handles=[Line2D([], [], color=c, linestyle=s, label=n) for n, c, s in looks])
    return drawn


# Figures 2 to 4. ------------------------------------------------------------------------------------------------------


def _depth(found: Sequence[Run]) -> dict[str, Figure]:
    """Some runs of each depth, and what fraction of all has jumped."""
    drawn = plots.figure(9.6, 6.0)
    (top_left, top_right), (left, right) = drawn.subplots(2, 2, sharex=True)
    for look, run in zip(plots.looks(len(found)), found, strict=True):
        name = f"L = {run.config.net.depth}"
        shown_seeds, reported = plots.some(run.num_seeds, SHOWN, "runs")
        for place, seed in enumerate(shown_seeds):
            label = None if place else f"{name} ({reported})"
            for axes, values in ((top_left, fit(run)), (top_right, error(run)), (left, run.all("ratio"))):
                shown = np.maximum(values[seed], FLOOR)
                axes.semilogy(run.steps, shown, linewidth=0.8, alpha=0.8, label=label, **look.curve)
        _fraction_jumped(right, run, look, f"{name} ({run.num_seeds} runs)")
    panels = ((top_left, "mean squared error\nof the observed entries"), (top_right, ERROR), (left, RATIO))
    for axes, label in (*panels, (right, "fraction of the runs\nthat has jumped")):
        axes.set_ylabel(label)
        axes.axvline(
            sum(phase[0] for phase in found[0].config.schedule.phases), color="black", linestyle=":", linewidth=1.0
        )
    right.set_ylim(-0.03, 1.03)
    for axes in (left, right):
        axes.set_xlabel(STEP)
    top_left.legend()
    right.legend()
    return {"depth": drawn}


def _epsilon(found: Sequence[Run]) -> dict[str, Figure]:
    """Every run's test error over eps, and the fraction that succeeds over t0."""
    drawn = plots.figure(10.2, 4.0)
    left, right = drawn.subplots(1, 2)
    panels = sorted(grouped(found, "schedule.branch").items())
    for index, (t0, panel) in enumerate(panels):
        colour = colormaps["cividis"](0.92 * index / max(len(panels) - 1, 1))
        shift = 1.0 + 0.02 * (index - (len(panels) - 1) / 2)
        ours = sorted(panel, key=lambda run: run.config.data.epsilon)
        places = [run.config.data.epsilon * shift for run in ours]
        for x, run in zip(places, ours, strict=True):
            left.semilogx(np.full(run.num_seeds, x), error(run)[:, -1], "_", color=colour, alpha=0.35)
        means = [np.mean(error(run)[~run.diverged, -1]) for run in ours]
        left.semilogx(places, means, "o-", color=colour, markersize=3.5, label=f"$t_0$ = {t0}")
    scales = sorted(grouped(found, "data.epsilon"))
    left.set_xticks(scales, [f"{scale:g}" for scale in scales])
    left.set_xticks([], minor=True)
    left.set_xlabel("ε")
    left.set_ylabel(f"{ERROR}\n(dashes: runs, circles: means)")
    left.legend(fontsize=7.5, loc="center", bbox_to_anchor=(0.58, 0.28))
    _success(right, found)
    return {"epsilon": drawn}


def _success(axes: Axes, found: Sequence[Run]) -> None:
    panels = sorted(grouped(found, "data.epsilon").items())
    for look, (epsilon, panel) in zip(plots.looks(len(panels)), panels, strict=True):
        ours = sorted(panel, key=lambda run: run.config.schedule.branch)
        low, middle, high = np.asarray([wilson(success(run)) for run in ours]).T
        reach = np.maximum(np.stack([middle - low, high - middle]), 0)
        style = {"markersize": 4, "capsize": 2, "label": f"ε = {epsilon:g}", "marker": look.marker}
        axes.errorbar([run.config.schedule.branch for run in ours], middle, reach, **style, **look.curve)
    axes.set_xlabel("steps $t_0$ at large η and λ")
    axes.set_ylabel("fraction with relative test error < 1/2")
    axes.legend(fontsize=7.5)


def _periodic(found: Sequence[Run]) -> dict[str, Figure]:
    """Some runs over the periods, and when all of them jump."""
    (run,) = found
    when = jump(run)
    drawn = plots.figure(9.0, 6.4)
    rows = drawn.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    shown = np.argsort(when)[np.linspace(0, len(when) - 1, min(SHOWN, len(when))).astype(int)]
    for look, seed in zip(plots.looks(len(shown)), shown, strict=True):
        for axes, values in ((rows[0], error(run)), (rows[1], run.all("ratio"))):
            axes.semilogy(run.steps, np.maximum(values[seed], FLOOR), linewidth=0.8, **look.curve)
    rows[2].hist(when[np.isfinite(when)], bins=np.linspace(0, end(run), 83).tolist(), color=BLUE)
    for axes in rows:
        for start, stop in high_periods(run.config):
            axes.axvspan(start, stop, color=ORANGE, alpha=0.18, linewidth=0, zorder=0)
    diverged = f", {run.num_diverged} diverged" if run.num_diverged else ""
    for axes, label in zip(rows, (ERROR, RATIO, f"jumps of\n{run.num_seeds} runs{diverged}"), strict=True):
        axes.set_ylabel(label)
    title = f"{len(shown)} of {run.num_seeds} runs, from early to late jumps; shaded: periods of large η and λ"
    rows[0].set_title(title, fontsize=9)
    rows[-1].set_xlabel(STEP)
    return {"periodic": drawn}
