"""The figures of smooth two-layer MLPs, and the runs that claims and figures read: one for every setting."""

import copy
import functools as ft
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from experiments.runner import plots, settings
from experiments.runner.fields import assign
from experiments.runner.results import Group, groups
from lawlib.networks.activations import Activation, activation
from lawlib.theory import smooth_mlp_bounds as bounds

__all__ = ["MOST_EXCESS", "NAMES", "SCALE", "STUDIES", "Runs", "SecondForm", "figures", "runs", "slopes"]

STUDIES = ("theorem", "decay", "tail")
# The eps of Figures 3 and 12.
SCALE = 1e-2
# How many times the ratio of the norms that of a single value may be in Figure 12.
MOST_EXCESS = 1.9
NAMES = {"elu": "ELU", "gelu": "GELU", "silu": "SiLU", "tanh": "tanh", "relu": "ReLU"}


class SecondForm(NamedTuple):
    """Theorem D.11's second form: A(t) <= delta and rho(t) <= rate, t >= 1, both (seed, t)."""

    delta: np.ndarray
    rate: np.ndarray


class Runs(NamedTuple):
    """The members that differ in their seed alone: their config with their own numbers in it, and what was seen.

    Arrays have a leading axis over the seeds and a second one over ``steps``.
    """

    config: ConfigDict
    diverged: int
    steps: np.ndarray
    seen: dict[str, np.ndarray]

    @property
    def phi(self) -> Activation:
        """The activation with its constants."""
        return activation(self.config.net.activation)

    @property
    def label(self) -> str:
        """The activation, as titles and statements call it."""
        return NAMES[self.phi.name]

    @property
    def classes(self) -> int:
        """K, the number of outputs."""
        return self.config.data.num_classes

    @property
    def num_small(self) -> int:
        """The dimension p = d - 2K of S_small."""
        return self.config.data.dimension - 2 * self.classes

    @property
    def values(self) -> np.ndarray:
        """sigma_i(G_1(t)), shape (seed, t, i)."""
        return self.seen["gradient_values"]

    @property
    def tail(self) -> np.ndarray:
        """sigma_{K+1}(G_1(t)), shape (seed, t)."""
        return self.values[..., self.classes]

    @property
    def norm_ratio(self) -> np.ndarray:
        """||G_1(t)||_F / ||G_1(0)||_F, shape (seed, t)."""
        norm = np.linalg.norm(self.values, axis=-1)
        return norm / norm[:, :1]

    @property
    def value_ratio(self) -> np.ndarray:
        """max_i sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K, shape (seed, t)."""
        leading = self.values[..., : self.classes]
        return (leading / leading[:, :1]).max(-1)

    @property
    def leading_target(self) -> np.ndarray:
        """sigma_i(W_2^T Y X^T), i <= K, shape (seed, i)."""
        return self.seen["target_values"][:, 0, : self.classes]

    @property
    def turned(self) -> np.ndarray:
        """A(t), shape (seed, t)."""
        return np.maximum(self.seen["left_sine"], self.seen["right_sine"])

    @property
    def rate(self) -> np.ndarray:
        """rho(t), shape (seed, t)."""
        return self.seen["step_bound"] / self.config.opt.step_size

    @property
    def step_ratio(self) -> np.ndarray:
        """The left side of the theorem's first form over its right side, the worst block, shape (seed, t)."""
        return self.seen["step_distances"].max(-1) / self.seen["step_bound"]

    @property
    def lipschitz(self) -> np.ndarray:
        """gamma_L with the largest residual of the whole run, shape (seed,)."""
        return self.seen["lipschitz"].max(1)

    def fractions(self, name: str) -> np.ndarray:
        """Each block's share in the squared change, t >= 1, shape (seed, t - 1, block)."""
        changed = self.seen[name][:, 1:]
        return changed / changed.sum(-1, keepdims=True)

    def at(self, step: int) -> int:
        """The index of a step that was seen."""
        return int(np.flatnonzero(self.steps == step)[0])

    def second_form(self) -> SecondForm:
        """delta(t) and the bound on rho(t), from constants of Assumption 3.4 that hold at every step seen.

        ||G_1(t)||_F <= q^t ||G_1(0)||_F with the least such q (and the paper's constant G_1 = 1), and the least G_2.
        """
        steps, ratio = self.steps[None, 1:].astype(float), self.norm_ratio[:, 1:]
        q = (ratio ** (1 / steps)).max(1, keepdims=True)
        excess = (self.value_ratio[:, 1:] / ratio).max(1, keepdims=True)
        norm = np.linalg.norm(self.values[:, 0], axis=-1)[:, None]
        distance = _each(bounds.distance_bound, norm, self.config.opt.step_size, q, steps)
        target = self.phi.slope_at_zero * self.leading_target
        spread, tail = self.seen["spread"][:, :1], self.tail[:, 1:]
        delta = _each(bounds.alignment_bound, distance, self.lipschitz[:, None], target[:, -1:], spread, tail)
        bound = ft.partial(bounds.rate_bound, num_small=self.num_small)
        rate = _each(bound, delta, target[:, :1], spread, tail, excess * q**steps)
        return SecondForm(delta, rate)


def _each(bound: Callable[..., Any], *numbers: ArrayLike) -> np.ndarray:
    """A bound of the library, which is one of numbers, at every place of arrays that broadcast."""
    return np.asarray(jnp.vectorize(bound)(*numbers))


def runs(results: xr.DataTree) -> list[Runs]:
    """Every variant at every value of its swept hyperparameters."""
    return [each for group in groups(results) for each in _runs(group)]


def _runs(group: Group) -> Iterator[Runs]:
    swept = settings.hyperparameters(group.config)
    for place in np.ndindex(*(len(values) for values in swept.values())):
        config = copy.deepcopy(group.config)
        for (field, values), index in zip(swept.items(), place, strict=True):
            assign(config, field, values[index])
        data = group.data.isel(dict(zip((field.split(".")[-1] for field in swept), place, strict=True)))
        seen = {str(name): values.values for name, values in data.items() if "step" in values.dims}
        yield Runs(config, int((data.diverged_at >= 0).sum()), data.step.values, seen)


def slopes(family: Sequence[Runs]) -> np.ndarray:
    """The slope of the line of log sigma_i(G_1(0)) in log eps, shape (seed, i); one of the family for every eps."""
    log_scale = np.log([r.config.net.scale for r in family])
    centred = log_scale - log_scale.mean()
    # Only a tail that is exactly 0 has no logarithm; its slope is then not a number, and no claim holds of it.
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(np.stack([r.values[:, 0] for r in family]))
        return np.tensordot(centred / np.sum(centred**2), values, 1)


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """The figures of the config's study."""
    found = runs(results)
    study = found[0].config.study
    if study == "theorem":
        return {"blocks": _draw_blocks(found), "bounds": _draw_bounds(found)}
    if study == "decay":
        return {"decay": _draw_decay(found), "gradient_tail": _draw_tail(found)}
    squares = [r for r in found if r.config.net.init == "normal"]
    spectra = [r for r in found if r.config.net.init == "orthogonal"]
    drawn = {"spectrum": _draw_spectra(spectra)} if spectra else {}
    return drawn | ({"relu_bound": _draw_squares(squares)} if squares else {})


def _draw_blocks(found: list[Runs]) -> Figure:
    """Figure 3: the share of block 1 above, the other blocks and a random subspace below."""
    drawn = plots.figure(2.7 * len(found) + 1.6, 5.2)
    rows = drawn.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), r in zip(rows.T, found, strict=True):
        steps, shares, random = r.steps[1:], r.fractions("blocks"), r.fractions("random_blocks")
        _band(upper, steps, shares[..., 0], 0, "block 1 of $S_{big}$")
        _goals(upper, r)
        for block in (1, 2, 3):
            _band(lower, steps, shares[..., block], block, f"block {block + 1} of $S_{{big}}$")
        _band(lower, steps, random[..., 0], 4, "block 1, random subspace")
        lower.set_yscale("log")
        upper.set_title(r.label)
        lower.set_xlabel("step t")
    plots.label_rows(rows, ("share of block 1\nin $||W_1(t) - W_1(0)||_F^2$", "share of the others"))
    plots.legends_beside(rows)
    return drawn


def _goals(axes: Axes, r: Runs) -> None:
    bounds = ((100, 250), (0.99, 0.97)) if r.phi.is_smooth else ((), ())
    axes.plot(*bounds, "_", color="black", markersize=14, markeredgewidth=1.6, label="bounds (smooth alone)")
    axes.set_xlim(0, max(260, r.steps[-1]))


def _draw_bounds(found: list[Runs]) -> Figure:
    """Theorem D.11 above; below, the gradient's subspaces turn away while its leading value decays."""
    drawn = plots.figure(2.7 * len(found) + 2.0, 5.4)
    rows = drawn.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), r in zip(rows.T, found, strict=True):
        _band(upper, r.steps, r.seen["step_distances"].max(-1), 0, "largest block's step / $\\sqrt{p}$")
        _band(upper, r.steps, r.seen["step_bound"], 1, "first form: $\\eta\\,\\rho(t)$")
        loose = r.second_form().rate if r.phi.is_smooth else np.full((1, len(r.steps) - 1), np.nan)
        _band(upper, r.steps[1:], r.config.opt.step_size * loose, 3, "second form (smooth alone)")
        _band(lower, r.steps[1:], r.turned[:, 1:] / r.classes**0.5, 2, "$A(t) / \\sqrt{K}$")
        wedin = r.seen["wedin_bound"][:, 1:] / r.classes**0.5
        _band(lower, r.steps[1:], np.where(np.isfinite(wedin), wedin, np.nan), 4, "Wedin's bound on it")
        _band(lower, r.steps, r.values[..., 0] / r.values[:, :1, 0], 5, "$\\sigma_1(G_1(t)) / \\sigma_1(G_1(0))$")
        for axes in (upper, lower):
            axes.set_yscale("log")
        lower.axhline(1, color="black", linestyle="--", linewidth=1.0, label="orthogonal: $\\sqrt{K}$")
        upper.set_title(r.label)
        lower.set_xlabel("step t")
    plots.label_rows(rows, ("change in a step", "of the first gradient"))
    plots.legends_beside(rows)
    return drawn


def _draw_decay(found: list[Runs]) -> Figure:
    """Figure 12, and below it what its log axis hides: the norm's change in each step."""
    chosen = [r for r in found if r.config.net.scale == SCALE] or found[:1]
    drawn = plots.figure(2.9 * len(chosen) + 1.9, 5.2)
    rows = drawn.subplots(2, len(chosen), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), r in zip(rows.T, chosen, strict=True):
        _band(upper, r.steps, r.norm_ratio, 0, "$||G_1(t)||_F / ||G_1(0)||_F$")
        _band(upper, r.steps, r.value_ratio, 1, "largest $\\sigma_i(t) / \\sigma_i(0)$, i ≤ K")
        bound, label = MOST_EXCESS * r.norm_ratio.mean(0), f"{MOST_EXCESS:g} × norm ratio"
        upper.semilogy(r.steps, bound, color="black", linestyle="--", label=label)
        lower.plot(r.steps[1:], np.diff(r.norm_ratio, axis=1).T, color=plots.COLOURS[0], linewidth=0.7, alpha=0.7)
        lower.plot([], [], color=plots.COLOURS[0], label="change in a step\n(one line a seed)")
        lower.axhline(1e-5, color="black", linestyle="--", linewidth=1.0, label="bound $10^{-5}$")
        lower.axhline(0, color="grey", linewidth=0.8)
        lower.set_yscale("symlog", linthresh=1e-7)
        upper.set_title(f"{r.label}, ε = {r.config.net.scale:g}")
        lower.set_xlabel("step t")
    plots.label_rows(rows, ("of the first gradient", "change of the norm in a step"))
    plots.legends_beside(rows)
    return drawn


def _draw_tail(found: list[Runs]) -> Figure:
    """Figure 13: sigma_{K+1}(G_1(t)) for every eps below sigma_K(W_2^T Y X^T)."""
    names = list(dict.fromkeys(r.label for r in found))
    drawn = plots.figure(2.9 * len(names) + 1.9, 3.2)
    rows = drawn.subplots(1, len(names), sharey=True, squeeze=False)
    for axes, name in zip(rows[0], names, strict=True):
        panel = [r for r in found if r.label == name]
        for place, r in enumerate(panel):
            _band(axes, r.steps, r.tail, place, f"$\\sigma_{{K+1}}(G_1(t))$, ε = {r.config.net.scale:g}")
        target = np.stack([r.leading_target[:, -1] for r in panel]).mean()
        axes.axhline(target, color="black", label="$\\sigma_K(W_2^T Y X^T)$, mean")
        axes.axhline(0.01 * target, color="black", linestyle="--", linewidth=1.0, label="a hundredth of it")
        axes.set_yscale("log")
        axes.set_title(name)
        axes.set_xlabel("step t")
    plots.label_rows(rows, ("singular value",))
    plots.legends_beside(rows)
    return drawn


def _draw_spectra(found: list[Runs]) -> Figure:
    """Figure 11 above, the slope of every value in eps below."""
    names = list(dict.fromkeys(r.label for r in found))
    drawn = plots.figure(2.3 * len(names) + 1.7, 5.0)
    rows = drawn.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), name in zip(rows.T, names, strict=True):
        panel = [r for r in found if r.label == name]
        index = np.arange(1, panel[0].values.shape[-1] + 1)
        for place, r in enumerate(panel):
            _band(upper, index, r.values[:, 0], place, f"ε = {r.config.net.scale:g}")
        upper.set_yscale("log")
        if len(panel) > 1:
            _band(lower, index, slopes(panel), 3, "all seeds")
        lower.set_yticks((0, 1, 2))
        lower.set_ylim(-0.2, 2.2)
        upper.set_title(name)
        lower.set_xlabel(f"index i (K = {panel[0].classes})")
    plots.label_rows(rows, ("$\\sigma_i(G_1(0))$", "slope of log $\\sigma_i$ in log ε"))
    plots.legends_beside(rows)
    return drawn


def _draw_squares(found: list[Runs]) -> Figure:
    """Proposition B.1: every member's bound beside what it bounds."""
    drawn = plots.figure(7.0, 0.34 * len(found) + 1.4)
    axes = drawn.subplots()
    measured = [r.values[:, 0, -r.classes - 1] for r in found]
    positive = [values[values > 0] for values in (r.seen["relu_bound"][:, 0] for r in found)]
    plots.strip(axes, measured, colour=plots.COLOURS[0], offset=-0.12, label="$\\sigma_{d-K}(G_1(0))$")
    plots.strip(axes, positive, colour=plots.COLOURS[1], offset=0.12, label="lower bound, where it is positive")
    net = [(r.config.data.dimension, r.config.net.width, r.config.net.scale) for r in found]
    vacuous = [" (no bound)" if not len(values) else "" for values in positive]
    labels = [f"d = N = {d}, m = {m}, ε = {s:g}{v}" for (d, m, s), v in zip(net, vacuous, strict=True)]
    plots.name_rows(axes, labels)
    axes.set_xlabel("singular value")
    drawn.legend(loc="outside upper center", ncols=2)
    return drawn


def _band(axes: Axes, at: np.ndarray, values: np.ndarray, place: int, label: str) -> None:
    """The median over the seeds within their range, in the look of that place."""
    plots.band(axes, at, values, alpha=0.25, label=label, **plots.looks(place + 1)[place].curve)
