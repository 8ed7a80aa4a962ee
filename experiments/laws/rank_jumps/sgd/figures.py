"""The figures of rank jumps: Figures 1 to 4 of Wang and Jacot 2024, with the frequencies behind the drawn runs."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.laws.rank_jumps.sgd.measures import Runs, find, high_periods, runs, wilson
from experiments.runner import plots

__all__ = ["figures"]

BLUE, RED, GREEN, PINK, ORANGE, SKY = plots.COLOURS
ERROR, RATIO, STEP = "relative test error", "$s_2/s_1$ of A", "step t"
SHOWN = 5
FLOOR = 1e-17


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """The figure that the config names as its study, and what its members say together."""
    found = runs(results)
    drawn = {"annealing": _annealing, "depth": _depth, "epsilon": _epsilon, "periodic": _periodic}
    return drawn[found[0].config.study](found)


# Figure 1. ------------------------------------------------------------------------------------------------------------


def _annealing(found: Sequence[Runs]) -> dict[str, Figure]:
    plain = find(found, opt__form="figures", monitor__put_back="never", monitor__imbalance=False)
    family = sorted(find(plain, opt__draws="with_replacement", net__init="uniform"), key=lambda r: r.branch)
    drawn = {"branches": _branches(family)} if family else {}
    labels = ("with replacement", "without replacement", "N(0, 1/w) weights")
    others = find(plain, opt__draws="without_replacement"), find(plain, net__init="normal")
    compared = [(label, r) for label, rs in zip(labels, (family[-1:], *others), strict=True) for r in rs]
    return drawn | ({"jump_times": _jump_times(compared)} if compared else {}) | _monitors(found)


def _branches(family: Sequence[Runs]) -> Figure:
    """One run and its branches: the fit, the missing entry, and the ratio of singular values that tells them apart."""
    main, seed = family[-1], _typical(family[-1])
    drawn = plots.figure(9.0, 6.6)
    rows = drawn.subplots(3, 1, sharex=True)
    jump, on = main.jump[seed], main.steps <= main.branch
    steps = main.steps[on]
    for axes, name in ((rows[0], "fit"), (rows[1], "error")):
        axes.semilogy(steps, np.maximum(getattr(main, name)[seed, on], FLOOR), color=SKY, linewidth=0.9)
        for r in family:
            later = r.steps >= r.branch
            colour = BLUE if r.branch < jump else GREEN
            axes.semilogy(r.steps[later], np.maximum(getattr(r, name)[seed, later], FLOOR), color=colour, linewidth=1.3)
    rows[2].semilogy(steps, np.maximum(main.values("ratio")[seed, on], FLOOR), color=RED)
    for axes, label in zip(rows, ("mean squared error\nof the observed entries", ERROR, RATIO), strict=True):
        axes.set_ylabel(label)
        if np.isfinite(jump):
            axes.axvline(jump, color="black", linestyle=":", linewidth=1.0)
    rows[-1].set_xlabel(STEP)
    names = ("large η and λ", "branch begun before the jump", "branch begun after it", "$s_2/s_1$", "jump")
    looks = ((SKY, "-"), (BLUE, "-"), (GREEN, "-"), (RED, "-"), ("black", ":"))
    handles = [Line2D([], [], color=c, ls=s, label=n) for n, (c, s) in zip(names, looks, strict=True)]
    drawn.legend(handles=handles, loc="outside upper center", ncols=5)
    return drawn


def _typical(r: Runs) -> int:
    """The seed whose jump is nearest the median of those that jump."""
    jump = np.where(np.isfinite(r.jump), r.jump, np.nan)
    return 0 if np.isnan(jump).all() else int(np.nanargmin(np.abs(jump - np.nanmedian(jump))))


def _jump_times(compared: Sequence[tuple[str, Runs]]) -> Figure:
    """What fraction of the members has jumped by each step, within its interval of 95%."""
    drawn = plots.figure(6.4, 3.6)
    axes = drawn.subplots()
    # Dashed, since curves may coincide: it is the drawn entries that decide when a run jumps.
    for place, (look, (label, r)) in enumerate(zip(plots.looks(len(compared)), compared, strict=True)):
        own = look._replace(line=(0, (4, 2))) if place == 2 else look
        _fraction_jumped(axes, r, own, f"{label} ({len(r.bad)} runs)")
    axes.set_xlabel(STEP)
    axes.set_ylabel("fraction of the runs that has jumped")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="best")
    return drawn


def _fraction_jumped(axes: Axes, r: Runs, look: plots.Look, label: str) -> None:
    steps = np.arange(0, r.branch + 1, max(1, r.branch // 400))
    low, middle, high = np.asarray([wilson(r.jump <= step) for step in steps]).T
    axes.plot(steps, middle, label=label, **look.curve)
    axes.fill_between(steps, low, high, color=look.colour, alpha=0.15, linewidth=0)


def _monitors(found: Sequence[Runs]) -> dict[str, Figure]:
    """The monitor of returns and its control, and the decline of sigma_2(W_1) beside its law."""
    low, high = find(found, monitor__put_back="low"), find(found, monitor__put_back="high")
    if not (low and high):
        return {}
    drawn = plots.figure(9.6, 3.6)
    left, right = drawn.subplots(1, 2, sharey=True)
    for axes, r, title in (
        (left, low[0], "put back to $s_2/s_1 < 10^{-3}$"),
        (right, high[0], "control: put back to rank 2"),
    ):
        shown, reported = plots.some(len(r.bad), SHOWN, "runs")
        for look, seed in zip(plots.looks(len(shown)), shown, strict=True):
            axes.semilogy(r.steps, np.maximum(r.values("ratio")[seed], FLOOR), linewidth=0.8, **look.curve)
        axes.axhline(0.05, color="black", linestyle="--", linewidth=1.0, label="a return: above .05")
        axes.set_xlabel(STEP)
        axes.set_title(f"{title}\n{reported}", fontsize=9)
    left.set_ylabel(RATIO)
    left.legend(loc="upper right")
    plain = find(
        found, opt__form="figures", opt__draws="with_replacement", net__init="uniform", monitor__put_back="never"
    )
    family = find(plain, monitor__imbalance=False)
    return {"one_way": drawn} | ({"decline": _decline(max(family, key=lambda r: r.branch))} if family else {})


def _decline(r: Runs) -> Figure:
    """sigma_2(W_1) and s2/s1 of A from each run's jump on, beside (1 - eta lambda)^t."""
    drawn = plots.figure(6.4, 3.8)
    axes = drawn.subplots()
    eta, decay = r.config.schedule.tail
    since = np.linspace(0, 1800, 60)
    for seed in np.flatnonzero(r.jump + 2500 <= r.branch):
        on = (r.steps >= r.jump[seed] - 500) & (r.steps <= min(r.jump[seed] + 2500, r.branch))
        for name, colour in (("first_sigma_2", BLUE), ("ratio", RED)):
            values = np.maximum(r.values(name)[seed, on], FLOOR)
            axes.semilogy(r.steps[on] - r.jump[seed], values, color=colour, linewidth=0.6, alpha=0.5)
    axes.semilogy(since, 0.1 * (1 - eta * decay) ** since, color="black", linestyle="--")
    axes.set_xlabel("steps since the jump")
    axes.set_ylabel("singular values")
    names = ("$σ_2(W_1)$, every run", RATIO, "slope of $(1 - ηλ)^t$")
    looks = zip(names, (BLUE, RED, "black"), ("-", "-", "--"), strict=True)
    axes.legend(handles=[Line2D([], [], color=c, linestyle=s, label=n) for n, c, s in looks])
    return drawn


# Figures 2 to 4. ------------------------------------------------------------------------------------------------------


def _depth(found: Sequence[Runs]) -> dict[str, Figure]:
    """Some runs of each depth, and what fraction of all has jumped."""
    drawn = plots.figure(9.6, 6.0)
    (top_left, top_right), (left, right) = drawn.subplots(2, 2, sharex=True)
    for look, r in zip(plots.looks(len(found)), found, strict=True):
        name = f"L = {r.config.net.depth}"
        shown_seeds, reported = plots.some(len(r.bad), SHOWN, "runs")
        for place, seed in enumerate(shown_seeds):
            label = None if place else f"{name} ({reported})"
            for axes, values in ((top_left, r.fit), (top_right, r.error), (left, r.values("ratio"))):
                shown = np.maximum(values[seed], FLOOR)
                axes.semilogy(r.steps, shown, linewidth=0.8, alpha=0.8, label=label, **look.curve)
        _fraction_jumped(right, r, look, f"{name} ({len(r.bad)} runs)")
    panels = ((top_left, "mean squared error\nof the observed entries"), (top_right, ERROR), (left, RATIO))
    for axes, label in (*panels, (right, "fraction of the runs\nthat has jumped")):
        axes.set_ylabel(label)
        axes.axvline(_first_end(found[0]), color="black", linestyle=":", linewidth=1.0)
    right.set_ylim(-0.03, 1.03)
    for axes in (left, right):
        axes.set_xlabel(STEP)
    top_left.legend()
    right.legend()
    return {"depth": drawn}


def _first_end(r: Runs) -> float:
    """Where the phases before the tail end."""
    return float(sum(phase[0] for phase in r.config.schedule.phases))


def _epsilon(found: Sequence[Runs]) -> dict[str, Figure]:
    """Every run's test error over eps, and the fraction that succeeds over t0."""
    drawn = plots.figure(10.2, 4.0)
    left, right = drawn.subplots(1, 2)
    times = sorted({r.branch for r in found})
    looks = dict(zip(times, _shades(len(times)), strict=True))
    for index, t0 in enumerate(times):
        those = sorted((r for r in found if r.branch == t0), key=lambda r: r.epsilon)
        shift = 1.0 + 0.02 * (index - (len(times) - 1) / 2)
        for r in those:
            left.semilogx(np.full(len(r.bad), r.epsilon * shift), r.error[:, -1], "_", color=looks[t0], alpha=0.35)
        means = [np.mean(r.error[~r.bad, -1]) for r in those]
        label = f"$t_0$ = {t0}"
        left.semilogx([r.epsilon * shift for r in those], means, "o-", color=looks[t0], markersize=3.5, label=label)
    scales = sorted({r.epsilon for r in found})
    left.set_xticks(scales, [f"{scale:g}" for scale in scales])
    left.set_xticks([], minor=True)
    left.set_xlabel("ε")
    left.set_ylabel(f"{ERROR}\n(dashes: runs, circles: means)")
    left.legend(fontsize=7.5, loc="center", bbox_to_anchor=(0.58, 0.28))
    _success(right, found)
    return {"epsilon": drawn}


def _shades(count: int) -> list:
    return [colormaps["cividis"](x) for x in np.linspace(0, 0.92, count)]


def _success(axes: Axes, found: Sequence[Runs]) -> None:
    scales = sorted({r.epsilon for r in found})
    for look, epsilon in zip(plots.looks(len(scales)), scales, strict=True):
        those = sorted((r for r in found if r.epsilon == epsilon), key=lambda r: r.branch)
        low, middle, high = np.asarray([wilson(r.success) for r in those]).T
        reach = np.maximum(np.stack([middle - low, high - middle]), 0)
        style = {"markersize": 4, "capsize": 2, "label": f"ε = {epsilon:g}", "marker": look.marker}
        axes.errorbar([r.branch for r in those], middle, reach, **style, **look.curve)
    axes.set_xlabel("steps $t_0$ at large η and λ")
    axes.set_ylabel("fraction with relative test error < 1/2")
    axes.legend(fontsize=7.5)


def _periodic(found: Sequence[Runs]) -> dict[str, Figure]:
    """Some runs over the periods, and when all of them jump."""
    (r,) = found
    drawn = plots.figure(9.0, 6.4)
    rows = drawn.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    shown = np.argsort(r.jump)[np.linspace(0, len(r.jump) - 1, min(SHOWN, len(r.jump))).astype(int)]
    for look, seed in zip(plots.looks(len(shown)), shown, strict=True):
        for axes, values in ((rows[0], r.error), (rows[1], r.values("ratio"))):
            axes.semilogy(r.steps, np.maximum(values[seed], FLOOR), linewidth=0.8, **look.curve)
    jumps = r.jump[np.isfinite(r.jump)]
    rows[2].hist(jumps, bins=np.linspace(0, r.end, 83).tolist(), color=BLUE)
    for axes in rows:
        for start, end in high_periods(r.config):
            axes.axvspan(start, end, color=ORANGE, alpha=0.18, linewidth=0, zorder=0)
    diverged = f", {r.diverged} diverged" if r.diverged else ""
    for axes, label in zip(rows, (ERROR, RATIO, f"jumps of\n{len(r.bad)} runs{diverged}"), strict=True):
        axes.set_ylabel(label)
    rows[0].set_title(
        f"{len(shown)} of {len(r.bad)} runs, from early to late jumps; shaded: periods of large η and λ", fontsize=9
    )
    rows[-1].set_xlabel(STEP)
    return {"periodic": drawn}
