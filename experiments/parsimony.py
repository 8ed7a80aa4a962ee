"""The law of parsimony (Yaras et al. 2023): a deep linear network beside the law that predicts it.

Two systems run as a pair from one draw: the network under gradient descent, and the recursion of rho. What is observed is
how far the one is from the other, in every layer.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments import plots
from experiments.claims import Claim, judge, report
from experiments.datasets import digits
from experiments.results import Group, Variable, groups
from experiments.settings import Checks
from lawlib.descent import Iterate, heavy_ball, sum_squared_error
from lawlib.dynamics import Dynamics, Pair, pair
from lawlib.initializers import orthogonal
from lawlib.networks.deep_linear import end_to_end
from lawlib.problems import gaussian_data, low_rank_target, whiten
from lawlib.subspaces import principal_angles
from lawlib.theory import parsimony as theory
from lawlib.types import Array, PyTree, Weights

DIGITS_CLASSES, DIGITS_PIXELS, DIGITS_RANK = 10, 64, 61
# A singular value counts as moved when it differs from rho by more than this, relative to rho.
MOVED = 1e-9
PAPER = "Yaras et al. 2023"

LAYER, TRIPLET = ("layer",), ("layer", "index")
VARIABLES = {
    "loss": Variable((), "1", "1/2 ||W_{L:1} X - Y||_F^2, a sum over entries"),
    "rho": Variable((), "1", "idle singular value predicted by the recursion (eqs. 6, 7, 16)"),
    "singular_values": Variable(TRIPLET, "1", "all singular values of W_l, descending"),
    "left_angles": Variable(TRIPLET, "rad", "angle of each left singular vector to the idle subspace U_{l,2}"),
    "right_angles": Variable(TRIPLET, "rad", "angle of each right singular vector to the idle subspace V_{l,2}"),
    "idle_value": Variable(LAYER, "1", "mean of the d - 2r singular values closest to rho"),
    "idle_deviation": Variable(LAYER, "1", "largest distance of those values from rho"),
    "num_moved": Variable(LAYER, "1", f"singular values that differ from rho by more than {MOVED:g} rho"),
    "left_subspace_angles": Variable(("layer", "angle"), "rad", "the 2r principal angles of the left idle subspace to "
        "U_{l,2} that the dimensions leave open; the others are 0"),
    "right_subspace_angles": Variable(("layer", "angle"), "rad", "the same on the right, to V_{l,2}"),
    "block_deviation": Variable(LAYER, "1", "||U_l^T W_l V_l - [W~_l 0; 0 rho I]||_F (eq. 5)"),
    "excess": Variable(LAYER, "1", "sigma_{2r+1}(W_l(t) - (rho(t)/eps) W_l(0))"),
    "readout_leak": Variable((), "1", "Case 2: ||W_L U_{L-1,2}||_F"),
}


class Network(NamedTuple):
    """What one network draws once: (X, Y), or (None, Phi) where X = I, or None where all share them; W(0); the frames; the rates."""

    data: tuple | None
    start: Weights
    frames: tuple[theory.Frame, ...]
    rates: dict[str, Array]


class Rho(NamedTuple):
    """The law's own state: the idle singular value now and a step before."""

    value: Array
    before: Array


def validate(checks: Checks) -> None:
    """The fields that this experiment reads, and what it asks of them."""
    checks.integer("net.depth", at_least=2)
    checks.integer("net.width", at_least=1)
    checks.number("net.scale", above=0.0)
    checks.number("opt.step_size", above=0.0)
    checks.number("opt.weight_decay", at_least=0.0)
    checks.number("opt.momentum", at_least=0.0, below=1.0)
    checks.choice("data.source", ("low_rank", "gaussian", "digits"))
    checks.choice("data.whiten", (True, False))
    checks.integer("data.rank", at_least=1)
    checks.integer("data.num_samples", at_least=1)
    checks.sweeps("net.scale", "opt.step_size", "opt.weight_decay", "opt.momentum")
    width, data = checks.config.net.width, checks.config.data
    checks.require("net.width", width > 2 * data.rank, f"must exceed 2 * data.rank = {2 * data.rank}")
    if data.source == "low_rank":
        checks.require("data.whiten", data.whiten, "must be True for data.source = 'low_rank', whose inputs are I")
    elif data.source == "gaussian" and data.whiten:
        checks.require("data.num_samples", data.num_samples >= width, f"must be >= net.width = {width} to be whitened")
    elif data.source == "digits":
        inputs = DIGITS_RANK if data.whiten else DIGITS_PIXELS
        checks.require("net.width", width == inputs, f"must be {inputs}, the digits' dimension for this data.whiten")
        checks.require("data.rank", data.rank == DIGITS_CLASSES, f"must be {DIGITS_CLASSES}, one output per digit")


def shared(config: ConfigDict) -> tuple:
    """The digits (X, Y), whitened or not, for all members; nothing for data that each member draws."""
    if config.data.source != "digits":
        return ()
    data = digits(jnp.dtype(config.precision))
    inputs = whiten(jnp.asarray(data.inputs), DIGITS_RANK).inputs if config.data.whiten else jnp.asarray(data.inputs)
    return inputs, jnp.asarray(data.labels)


def dynamics(config: ConfigDict) -> Dynamics:
    """The network and the recursion of rho, side by side."""
    return pair(_network(config), _law(config), _compare)


def _network(config: ConfigDict) -> Dynamics:
    dtype, width, rank = jnp.dtype(config.precision), config.net.width, config.data.rank
    descent = heavy_ball(_loss)

    def init(key: Array, knobs: dict, shared: tuple) -> tuple[Network, Iterate]:
        key_data, key_weights = jax.random.split(key)
        inputs, targets = shared or _draw(config, key_data, dtype)
        weights = _orthogonal_weights(config, key_weights, _number(config, knobs, "net.scale"), len(targets))
        cross = targets if inputs is None else targets @ inputs.T
        rates = {name: _number(config, knobs, f"opt.{name}") for name in ("step_size", "weight_decay", "momentum")}
        own_data = None if shared else (inputs, targets)
        return Network(own_data, weights, theory.invariant_frames(weights, cross, rank), rates), descent.init(weights)

    def step(iterate: Iterate, problem: Network, shared: tuple) -> Iterate:
        return descent.step(iterate, *(problem.data or shared), **problem.rates)

    return Dynamics(init, step, lambda *_: {})


def _law(config: ConfigDict) -> Dynamics:
    """The recursion of rho (eqs. 6, 7, and 16 for momentum): it knows eps, the rates and the depth, and no matrix."""

    def init(key: Array, knobs: dict, shared: tuple) -> tuple[dict, Rho]:
        scale = _number(config, knobs, "net.scale")
        rates = {name: _number(config, knobs, f"opt.{name}") for name in ("step_size", "weight_decay", "momentum")}
        return rates, Rho(scale, scale)

    def step(rho: Rho, rates: dict, shared: tuple) -> Rho:
        if config.data.source == "low_rank":
            return Rho(theory.rho_square(*rho, depth=config.net.depth, **rates), rho.value)
        return Rho(theory.rho_wide(*rho, **rates), rho.value)

    return Dynamics(init, step, lambda *_: {})


def _compare(states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
    """How far the network is from the law, layer by layer (the last layer of Case 2 apart)."""
    weights, rho = states.first.weights, states.second.value
    problem: Network = problems.first
    frames, start = problem.frames, problem.start
    square = len(frames) - 1
    layers = (weights[:square], start[:square], frames[1:], frames[:-1])
    stacked = (jax.tree.map(lambda *each: jnp.stack(each), *layer) for layer in layers)
    seen = jax.vmap(_compare_layer, (0, 0, 0, 0, None))(*stacked, rho)
    seen |= {"loss": _loss(weights, *(problem.data or shared)), "rho": rho}
    if len(frames) == len(weights):
        seen["readout_leak"] = jnp.linalg.norm(weights[-1] @ frames[-1].idle)
    return seen


def _compare_layer(W: Array, start: Array, left: theory.Frame, right: theory.Frame, rho: Array) -> dict[str, Array]:
    U, s, Vt = jnp.linalg.svd(W)
    moved, idle = theory.split_spectrum(s, rho, left.idle.shape[1])
    scale = jnp.linalg.norm(start) / jnp.sqrt(jnp.asarray(len(start), start.dtype))
    return {
        "singular_values": s,
        "left_angles": theory.angle_to_idle(U, left),
        "right_angles": theory.angle_to_idle(Vt.T, right),
        "idle_value": jnp.mean(s[idle]),
        "idle_deviation": jnp.max(jnp.abs(s[idle] - rho)),
        "num_moved": jnp.sum(jnp.abs(s - rho) > MOVED * rho),
        "left_subspace_angles": principal_angles(left.active, U[:, moved]),
        "right_subspace_angles": principal_angles(right.active, Vt[moved].T),
        "block_deviation": theory.block_deviation(theory.block_decomposition(W, left, right), rho),
        "excess": theory.excess_value(W, start, rho, scale=scale, rank=len(moved) // 2),
    }


def _loss(weights: Weights, inputs: Array | None, targets: Array) -> Array:
    outputs = end_to_end(weights) if inputs is None else end_to_end(weights) @ inputs
    return sum_squared_error(outputs, targets)


def _draw(config: ConfigDict, key: Array, dtype: Any) -> tuple[Array | None, Array]:
    width, rank = config.net.width, config.data.rank
    if config.data.source == "low_rank":
        return None, low_rank_target(key, (width, width), rank, dtype)
    inputs, targets = gaussian_data(key, width, rank, config.data.num_samples, dtype)
    return (whiten(inputs, width).inputs if config.data.whiten else inputs), targets


def _orthogonal_weights(config: ConfigDict, key: Array, scale: Array, num_outputs: int) -> Weights:
    width, dtype = config.net.width, scale.dtype
    *square, last = jax.random.split(key, config.net.depth)
    # Drawn as one batch: the generator's code is long, and compiled once it serves every square layer.
    stacked = jax.vmap(lambda k: orthogonal(scale)(k, (width, width), dtype))(jnp.stack(square))
    return (*stacked, orthogonal(scale)(last, (num_outputs, width), dtype))


def _number(config: ConfigDict, knobs: dict, field: str) -> Array:
    """The member's own value of a numeric field: the swept one, or the config's."""
    group, name = field.split(".")
    return knobs[field] if field in knobs else jnp.asarray(config[group][name], config.precision)


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on Theorem 1 where the inputs are whitened, and on Figure 10 where they are not."""
    found = groups(results)
    whitened = [group for group in found if group.config.data.whiten]
    judged = [claim for kind in KINDS for claim in kind.claims([g for g in whitened if kind.holds(g.config)])]
    return judged + [claim for group in found if not group.config.data.whiten for claim in _without_whitening(group)]


class Kind(NamedTuple):
    """A family of variants whose claims are judged together."""

    name: str
    source: str
    precision: str
    bound: float

    def holds(self, config: ConfigDict) -> bool:
        """Whether a variant belongs here."""
        return (config.data.source, config.precision) == (self.source, self.precision)

    def claims(self, members: list[Group]) -> list[Claim]:
        """Theorem 1.a for these variants, and 1.b in float64; none where there are no variants."""
        if not members:
            return []
        exact = self.precision == "float64"
        return [*self._deviations(members, "T1.a" if exact else "T1.c"), *(self._subspaces(members) if exact else [])]

    def _deviations(self, members: list[Group], id: str) -> Iterator[Claim]:
        relative = " relative to the largest singular value" if self.source == "digits" else ""
        for name, statement in DEVIATIONS.items():
            if name in members[0].data:
                sizes = [g.worst("singular_values") if relative else 1.0 for g in members]
                values = [g.worst(name) / size for g, size in zip(members, sizes, strict=True)]
                yield _judge(f"{id} {self.name}", members, f"{statement}{relative}", values, "<", self.bound)

    def _subspaces(self, members: list[Group]) -> Iterator[Claim]:
        id, rank = f"T1.b {self.name}", members[0].config.data.rank
        moved = [np.where(g.worst("num_moved", 1, "min") < 2 * rank, -1, g.worst("num_moved", 1)) for g in members]
        yield _judge(id, members, f"exactly 2r = {2 * rank} singular values differ from rho at every t >= 1", moved,
                     "==", 2 * rank)
        for side, frame in (("left", "U_2"), ("right", "V_2")):
            angles = [g.worst(f"{side}_subspace_angles", 1) for g in members]
            yield _judge(id, members, f"angle of the {side} idle subspace to {frame} in rad, t >= 1", angles, "<", 1e-9)


DEVIATIONS = {
    "idle_deviation": "|repeated singular value - rho(t)|, every layer and step",
    "block_deviation": "||U^T W V - [W~ 0; 0 rho I]||, every layer and step",
    "excess": "sigma_{2r+1}(W_l(t) - (rho(t)/eps) W_l(0))",
    "readout_leak": "||W_L U_{L-1,2}||: the last layer sees no idle direction",
}
KINDS = (
    Kind("Case 1", "low_rank", "float64", 1e-12),
    Kind("Case 2", "gaussian", "float64", 1e-12),
    Kind("digits", "digits", "float64", 1e-12),
    Kind("Case 1, float32", "low_rank", "float32", 2e-4),
)


def _judge(id: str, members: list[Group], statement: str, values: list, relation: str, bound: float, **more: Any) -> Claim:
    depths = sorted({group.config.net.depth for group in members})
    where = f"L = {depths[0]}" if len(depths) == 1 else f"L = {depths[0]} to {depths[-1]}"
    about = {"kind": "law", "paper": PAPER, "figure": "Theorem 1", "diverged": sum(g.diverged for g in members)}
    flat = np.concatenate(values)
    return judge(id, statement=f"{statement} ({where})", values=flat, relation=relation, bound=bound, **about | more)


def _without_whitening(group: Group) -> list[Claim]:
    """Figure 10: what remains of the law at the end of a run on inputs that are not whitened."""
    width, rank = group.config.net.width, group.config.data.rank
    final = group.data.isel(step=-1)
    still = _per_member(np.abs(final.singular_values - group.config.net.scale) < 1e-3, "index", "layer")
    angles = np.maximum(final.left_subspace_angles, final.right_subspace_angles)
    small = width - 4 * rank + _per_member(angles < 1e-3, "angle", "layer")
    largest = angles.max(("angle", "layer")).values.ravel()
    about = {"paper": PAPER, "figure": "Fig. 10", "diverged": group.diverged}
    subject = f"of {width} singular values within 1e-3 of eps at the end, every layer l < L"
    tilt = "largest angle in rad between the idle subspace at the end and at the start"
    count = f"of {width - 2 * rank} angles of the idle subspace below 1e-3 rad; {width - 4 * rank} are 0 by dimension alone"
    reports = [report(f"F10 {group.config.data.source}", statement=count, values=small, statistic="min", **about)]
    if group.config.data.source == "digits":
        reports += [
            report("F10 digits", statement=subject, values=still, statistic="min", **about),
            report("F10 digits", statement=tilt, values=largest, **about),
        ]
        return reports
    printed = f"'the subspaces evolve very little' is false: {tilt}"
    return [
        judge("F10 gaussian", kind="law", statement=subject, values=still, relation=">=", bound=20, **about),
        judge("F10 gaussian", kind="printed", statement=printed, values=largest, relation=">", bound=0.1, **about),
        *reports,
    ]


def _per_member(flags: xr.DataArray, counted: str, layers: str) -> np.ndarray:
    """How many flags are set, in the layer where they are fewest."""
    return flags.sum(counted).min(layers).values.ravel()


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """All layers of one member of every float64 variant, and every member's deviations in one picture."""
    found = groups(results)
    drawn = {f"layers_{group.name}": _layers(group) for group in found if group.config.precision == "float64"}
    return {"deviations": _deviations(found), **drawn}


def _layers(group: Group) -> Figure:
    """A column for each layer, time along every axis: spectrum, angles, rho, deviations (Figures 3, 8, 9, 10)."""
    config, steps = group.config, group.data.step.values
    knobs = [dim for dim in group.data.first_bad_step.dims if dim != "seed"]
    member = group.data.isel(dict.fromkeys(("seed", *knobs), 0))
    depth = member.sizes["layer"]
    drawn = plots.figure(3.4 * depth + 1.6, 11.0)
    drawn.suptitle(_title(config, member, knobs))
    rows = drawn.subplots(5, depth, sharex=True, squeeze=False, height_ratios=(1.3, 1, 1, 1.1, 1.1))
    for layer, column in enumerate(rows.T):
        one = member.isel(layer=layer)
        column[0].set_title(f"layer {layer + 1}")
        moves = (one.singular_values - one.rho).T.values
        plots.heat(column[0], steps, moves, "singular value − ρ(t)", diverging=True, last=layer == depth - 1)
        for row, side in ((1, "right"), (2, "left")):
            angles = np.degrees(one[f"{side}_angles"].T.values)
            angles[:, steps == 0] = np.nan  # all values coincide at the start: its singular vectors mean nothing
            name = f"angle of {side} vector\nto {'V' if side == 'right' else 'U'}₂ (degrees)"
            plots.heat(column[row], steps, angles, name, limits=(0, 90), last=layer == depth - 1)
        _rho_panel(column[3], group, layer, knobs)
        curves = {"|idle − ρ|": one.idle_deviation, "block deviation": one.block_deviation, "σ₂ᵣ₊₁(W − ρ/ε W₀)": one.excess}
        plots.series(column[4], steps, {name: curve.values for name, curve in curves.items()},
                     bound=1e-12 if config.data.whiten else None, legend=layer == 0)
    plots.label_rows(rows, ("index i, descending", "index i", "index i", "idle value", "deviation"))
    plots.time_axis(rows, config.observe.spacing)
    return drawn


def _title(config: ConfigDict, member: xr.Dataset, knobs: list[str]) -> str:
    data = {"low_rank": f"rank-{config.data.rank} target (Case 1)", "digits": "handwritten digits", "gaussian": "Gaussian data"}
    whitened = "" if config.data.source == "low_rank" else ", whitened (Case 2)" if config.data.whiten else ", not whitened"
    values = ", ".join(f"{knob.replace('_', ' ')} {float(member[knob]):g}" for knob in knobs)
    title = f"{data[config.data.source]}{whitened}: d = {config.net.width}, L = {config.net.depth}, 2r = {2 * config.data.rank}"
    return f"{title}\nseed 0{', ' if values else ''}{values}"


def _rho_panel(axes: Any, group: Group, layer: int, knobs: list[str]) -> None:
    """The idle value as measured, wide and in colour, under rho as predicted, thin and black, for every knob."""
    seed = group.data.isel(seed=0, layer=layer).stack(member=knobs) if knobs else group.data.isel(seed=0, layer=layer).expand_dims("member", -1)
    for place in range(min(seed.sizes["member"], len(plots.COLOURS))):
        one = seed.isel(member=place)
        label = ", ".join(f"{LETTERS[knob]}={float(one[knob]):g}" for knob in knobs) or "measured"
        axes.plot(seed.step, one.idle_value, color=plots.COLOURS[place], linewidth=4, alpha=0.6, label=label)
        axes.plot(seed.step, one.rho, color="black", linewidth=0.9, label=None if place else "ρ(t), predicted")
    if layer == 0:
        axes.legend(loc="best", ncols=2)


LETTERS = {"weight_decay": "λ", "momentum": "μ", "scale": "ε", "step_size": "η"}


def _deviations(found: list[Group]) -> Figure:
    """Every member's worst deviation over layers and steps, variant by variant."""
    drawn = plots.figure(max(6.0, 1.1 * len(found) + 2.5), 4.2)
    axes = drawn.subplots()
    for place, (name, label) in enumerate(zip(DEVIATIONS, ("|idle value − ρ|", "block deviation", "excess σ₂ᵣ₊₁", "readout leak"), strict=True)):
        columns = {group.name: group.worst(name) if name in group.data else np.full(1, np.nan) for group in found}
        plots.strip(axes, columns, colour=plots.COLOURS[place], offset=0.22 * (place - 1.5), label=label)
    axes.axhline(1e-12, color="black", linestyle="--", linewidth=1.0, label="bound, float64")
    axes.axhline(2e-4, color="black", linestyle=":", linewidth=1.0, label="bound, float32")
    axes.set_ylabel("worst deviation of a member")
    drawn.legend(loc="outside upper center", ncols=6)
    return drawn
