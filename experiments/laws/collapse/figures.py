"""The figures of progressive collapse: the separation after every layer, with the best line on a log axis."""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from ml_collections import ConfigDict

from experiments.runner import plots, settings
from experiments.runner.fields import assign
from experiments.runner.results import Group, groups
from lawlib.theory import collapse as theory

__all__ = ["Curves", "Fit", "curves", "figures", "fit"]


class Fit(NamedTuple):
    """The least-squares line log D_l = log D + l log rate, one for each row of separations."""

    start: np.ndarray
    rate: np.ndarray
    r_squared: np.ndarray


class Curves(NamedTuple):
    """The members that differ in their seed alone: their config with their own numbers in it, and how they ended.

    ``ended`` says which members reached their tolerance (all, where it is 0 and the last step is the end). Arrays have
    a leading axis over the seeds.
    """

    config: ConfigDict
    diverged: int
    ended: np.ndarray
    steps: np.ndarray
    accuracy: np.ndarray
    separation: np.ndarray
    imbalance: np.ndarray

    @property
    def law(self) -> float:
        """The rate eps^2 / n^{1/L} of linear networks."""
        net, data = self.config.net, self.config.data
        return float(theory.decay_rate(scale=net.scale, samples_per_class=data.samples_per_class, depth=net.depth))

    @property
    def lawful(self) -> bool:
        """Whether that law speaks of these members: linear, orthogonal inputs, orthogonal start."""
        net = self.config.net
        from_orthogonal = self.config.data.source == "orthogonal" and net.init in ("orthogonal", "corollary")
        return from_orthogonal and net.activation == "linear"

    @property
    def bound(self) -> float:
        """Theorem 2's bound on the ratios."""
        config = self.config
        return float(theory.ratio_bound(scale=config.net.scale, num_classes=config.data.num_classes))

    @property
    def largest_scale(self) -> float:
        """The largest eps of Theorem 2."""
        net, data = self.config.net, self.config.data
        classes = {"num_classes": data.num_classes, "samples_per_class": data.samples_per_class}
        return theory.largest_scale(width=net.width, depth=net.depth, **classes)

    @property
    def ratios(self) -> np.ndarray:
        """D_{l+1} / D_l of every member, shape (seed, L - 1)."""
        return self.separation[:, 1:] / self.separation[:, :-1]

    @property
    def of_bound(self) -> np.ndarray:
        """The largest D_{l+1} / D_l of every member over Theorem 2's bound."""
        return self.ratios.max(1) / self.bound

    def members(self, chosen: np.ndarray) -> "Curves":
        """The chosen members alone; ``chosen`` is a mask."""
        return Curves(self.config, self.diverged, *(values[chosen] for values in self[2:]))


def curves(results: xr.DataTree) -> list[Curves]:
    """Every variant at every value of its swept hyperparameters, at the end of the run."""
    return [curve for group in groups(results) for curve in _curves(group)]


def _curves(group: Group) -> Iterator[Curves]:
    swept = settings.hyperparameters(group.config)
    for place in np.ndindex(*(len(values) for values in swept.values())):
        config = copy.deepcopy(group.config)
        for (field, values), index in zip(swept.items(), place, strict=True):
            assign(config, field, values[index])
        names = [field.split(".")[-1] for field in swept]
        data = group.data.isel(dict(zip(names, place, strict=True)))
        last = data.isel(step=-1)
        at_end = (config.opt.tolerance == 0) & (data.diverged_at.values < 0)
        yield Curves(
            config,
            int((data.diverged_at >= 0).sum()),
            (data.converged_at.values >= 0) | at_end,
            np.where(data.converged_at >= 0, data.converged_at, config.opt.num_steps),
            *(last[name].values for name in ("accuracy", "separation", "imbalance")),
        )


def fit(separation: np.ndarray) -> Fit:
    """Fit a line to log D_l against l = 0, ..., L-1, the last axis; R^2 is that of the logarithms."""
    log = np.log(separation)
    layers = np.arange(log.shape[-1]) - (log.shape[-1] - 1) / 2
    mean = log.mean(-1, keepdims=True)
    slope = (log - mean) @ layers / (layers @ layers)
    residual = log - mean - slope[..., None] * layers
    r_squared = 1 - (residual**2).sum(-1) / ((log - mean) ** 2).sum(-1)
    return Fit(np.exp(mean[..., 0] + slope * layers[0]), np.exp(slope), r_squared)


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """The separation of every layer as the paper draws it; for the theorem, how far below its bound it falls."""
    found = curves(results)
    drawn = {"separation": _separation(found)}
    return drawn | ({"bound": _bounds(found)} if found[0].config.study == "theorem" else {})


def _separation(found: list[Curves]) -> Figure:
    """A panel for each activation and loss; in it every member's D_l, the best lines and, for linear ones, the law."""
    panels: dict[tuple, list[Curves]] = {}
    for c in found:
        panels.setdefault((c.config.net.activation, -c.config.opt.tolerance), []).append(c)
    drawn = plots.figure(4.1 * len(panels), 3.6 + 0.2 * max(map(len, panels.values())))
    row = drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (_, panel) in zip(row, sorted(panels.items()), strict=True):
        _panel(axes, panel)
    row[0].set_ylabel("separation $D_l$ = Tr Σ_W / Tr Σ_B")
    return drawn


def _panel(axes: Axes, panel: list[Curves]) -> None:
    for look, c in zip(plots.looks(len(panel)), panel, strict=True):
        _draw_members(axes, c, look)
    if any(c.lawful for c in panel):
        axes.plot([], [], color="black", linestyle=":", linewidth=1.0, label="law ε²/n^(1/L)")
    config = panel[0].config
    name = {"linear": "linear", "relu": "ReLU"}[config.net.activation]
    when = f"mean loss {config.opt.tolerance:g}" if config.opt.tolerance else f"after {config.opt.num_steps} steps"
    axes.set_title(f"{name}, {when}")
    axes.set_xlabel("layer l (0: inputs)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=7.5)


def _draw_members(axes: Axes, c: Curves, look: plots.Look) -> None:
    """Every member's points, crosses where it stopped on a plateau, the line of their geometric mean, and the law."""
    layers = np.arange(c.separation.shape[1])
    ended, capped = c.separation[c.ended], c.separation[~c.ended]
    colour = look.colour
    axes.semilogy(layers, ended.T, linestyle="", markersize=3.5, alpha=0.6, **look.points)
    axes.semilogy(layers, capped.T, "x", color=colour, markersize=4.5, alpha=0.8)
    if len(ended):
        line, poorest = fit(np.exp(np.log(ended).mean(0))), fit(ended).r_squared.min()
        law = f" (law {c.law:.3g})" if c.lawful else ""
        # Rounded down: 1 would say exact.
        label = f"{_setting(c)}: rate {line.rate:.3g}{law}, R² ≥ {np.floor(1e4 * poorest) / 1e4:g}"
        axes.semilogy(layers, line.start * line.rate**layers, linewidth=1.0, **look.curve)
        axes.plot([], [], marker=look.marker, markersize=3.5, label=label, **look.curve)
        if c.lawful:
            axes.semilogy(layers, ended[0, 0] * c.law**layers, color="black", linestyle=":", linewidth=1.0)
    if len(capped):
        why = f"{c.diverged} diverged" if c.diverged else "at the cap of steps"
        label = f"{_setting(c)}: {len(capped)} of {len(c.ended)} not there, {why}"
        axes.plot([], [], "x", color=colour, label=label)


def _setting(c: Curves) -> str:
    """What tells the curves of a study apart."""
    net = c.config.net
    depth, scale = f"L = {net.depth}", f"ε = {net.scale:.3g}"
    return {"scale": scale, "init": net.init, "theorem": f"{depth}, {scale}"}.get(c.config.study, depth)


def _bounds(found: list[Curves]) -> Figure:
    """Every member's largest D_{l+1}/D_l over the theorem's bound; 1 is the bound."""
    drawn = plots.figure(8.0, 0.32 * len(found) + 1.3)
    axes = drawn.subplots()
    shares = [c.of_bound[c.ended] for c in found]
    within = [c.config.net.scale <= c.largest_scale for c in found]
    for colour, chosen, label in ((0, True, "ε ≤ ε_max"), (1, False, "ε > ε_max: the hypotheses fail")):
        rows = [share if is_within == chosen else np.empty(0) for share, is_within in zip(shares, within, strict=True)]
        plots.strip(axes, rows, colour=plots.COLOURS[colour], offset=0.0, label=label)
    axes.axvline(1, color="black", linestyle="--", linewidth=1.0, label="bound 2(√K + 1)ε²")
    labels = [f"{_setting(c)}, loss {c.config.opt.tolerance:g}{'' if c.bound < 1 else ' (bound ≥ 1)'}" for c in found]
    plots.name_rows(axes, labels)
    axes.set_xlabel("largest $D_{l+1}/D_l$ of a member over Theorem 2's bound")
    drawn.legend(loc="outside upper center", ncols=3)
    return drawn
