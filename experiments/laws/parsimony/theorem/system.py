"""The law of parsimony (Yaras et al. 2023): a deep linear network beside the law that predicts it.

Two systems run as a pair from one draw: the network under gradient descent, and the recursion of rho. What is
observed is how far the one is from the other, in every layer.
"""

import functools as ft
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.data.datasets import DATA_SETS, digits, flattened, image_data
from experiments.laws.parsimony.theorem.figures import deviation, figures
from experiments.runner.checks import Checks
from experiments.runner.claims import Claim, judge, report
from experiments.runner.fields import leaves
from experiments.runner.hyperparameters import value_of
from experiments.runner.results import Group, Variable, groups
from experiments.runner.store import InputError
from lawlib.descent.steps import Iterate, heavy_ball, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Pair, pair
from lawlib.linalg.subspaces import principal_angles
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import gaussian_data, low_rank_target, whiten
from lawlib.theory import parsimony as theory
from lawlib.types import Array, PyTree, Weights

__all__ = ["VARIABLES", "claims", "dynamics", "figures", "shared", "sources", "validate"]

DIGITS_CLASSES, DIGITS_PIXELS, DIGITS_RANK = 10, 64, 61
# From how many images on the pixels of Fashion-MNIST, as they are or averaged over squares of 2 x 2, have full row rank
# and can be whitened: one pixel is empty in the first 4879 images.
LEAST_IMAGES = {1: 5000, 2: 1000}
REAL = ("digits", "fashion_mnist")
# A singular value counts as moved when it differs from rho by more than this, relative to rho.
MOVED = 1e-9
PAPER = "Yaras et al. 2023"

LAYER, TRIPLET, ANGLE = ("layer",), ("layer", "index"), ("layer", "angle")
DEVIATIONS = {
    "idle_deviation": "|repeated singular value - rho(t)|",
    "block_deviation": "||U^T W(t) V - [W~ 0; 0 rho I]||_F",
    "excess": "sigma_{2r+1}(W(t) - (rho(t)/eps) W(0))",
    "readout_leak": "||W_L(t) U_{L-1,2}||_F",
}
OPEN_ANGLES = "the 2r principal angles of the {} idle subspace to {} that the dimensions leave open; the others are 0"
VARIABLES = {
    "loss": Variable((), "1", "1/2 ||W_{L:1} X - Y||_F^2, a sum over entries", f"{PAPER}, eq. 2"),
    "rho": Variable((), "1", "idle singular value that the recursion predicts", f"{PAPER}, eqs. 6, 7, 16"),
    "singular_values": Variable(TRIPLET, "1", "all singular values of W_l, descending", f"{PAPER}, eq. 8"),
    "left_angles": Variable(TRIPLET, "rad", "angle of each left singular vector to the idle subspace U_{l,2}"),
    "right_angles": Variable(TRIPLET, "rad", "angle of each right singular vector to the idle subspace V_{l,2}"),
    "idle_value": Variable(LAYER, "1", "mean of the d - 2r singular values closest to |rho|"),
    "idle_deviation": Variable(LAYER, "1", DEVIATIONS["idle_deviation"], f"{PAPER}, eq. 5"),
    "num_moved": Variable(LAYER, "1", f"singular values that differ from |rho| by more than {MOVED:g} |rho|"),
    "left_subspace_angles": Variable(ANGLE, "rad", OPEN_ANGLES.format("left", "U_{l,2}")),
    "right_subspace_angles": Variable(ANGLE, "rad", OPEN_ANGLES.format("right", "V_{l,2}")),
    "block_deviation": Variable(LAYER, "1", DEVIATIONS["block_deviation"], f"{PAPER}, eq. 5"),
    "excess": Variable(LAYER, "1", DEVIATIONS["excess"], f"{PAPER}, eq. 5"),
    "readout_leak": Variable((), "1", f"Case 2: {DEVIATIONS['readout_leak']}", f"{PAPER}, Lemma 2"),
}


class Network(NamedTuple):
    """What one network draws once: its data ((X, Y), (None, Phi) where X = I, None where all share them), W(0),
    the frames of Theorem 1, its rates.
    """

    data: tuple | None
    start: Weights
    frames: tuple[theory.Frame, ...]
    rates: dict[str, Array]


class Rho(NamedTuple):
    """The law's own state: the idle singular value now and a step before."""

    value: Array | float
    before: Array | float


def validate(checks: Checks) -> None:
    """The fields that this experiment reads, and what it asks of them."""
    checks.integer("net.depth", at_least=2)
    checks.integer("net.width", at_least=1)
    checks.number("net.scale", above=0.0)
    checks.number("opt.step_size", above=0.0)
    checks.number("opt.weight_decay", at_least=0.0)
    checks.number("opt.momentum", at_least=0.0, below=1.0)
    checks.choice("data.source", ("low_rank", "gaussian", "digits", "fashion_mnist"))
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
    elif data.source == "fashion_mnist":
        _check_images(checks)


def _check_images(checks: Checks) -> None:
    checks.choice("data.pool", tuple(LEAST_IMAGES))
    width, data = checks.config.net.width, checks.config.data
    known = DATA_SETS[data.source]
    pixels = known.shape[0] // data.pool * (known.shape[1] // data.pool)
    checks.require("net.width", width == pixels, f"must be {pixels}, the pixels of an image at this data.pool")
    checks.require("data.rank", data.rank == known.num_classes, f"must be {known.num_classes}, one output per class")
    least, most = LEAST_IMAGES[data.pool] if data.whiten else 1, known.sizes[0]
    rule = f"must be in {least}..{most}, the images that can be whitened at this data.pool"
    checks.require("data.num_samples", least <= data.num_samples <= most, rule)
    try:
        image_data(data.source, data.folder)
    except InputError as missing:
        checks.problems += missing.problems


def shared(config: ConfigDict) -> tuple:
    """Real data (X, Y), whitened or not, for all members; nothing for data that each member draws."""
    data, dtype = config.data, np.dtype(config.precision)
    if data.source not in REAL:
        return ()
    if data.source == "digits":
        found, dimension = digits(dtype), DIGITS_RANK
    else:
        train = image_data(data.source, data.folder).train
        found, dimension = flattened(train, data.num_samples, data.pool, dtype), config.net.width
    inputs = jnp.asarray(found.inputs)
    return whiten(inputs, dimension).inputs if data.whiten else inputs, jnp.asarray(found.labels)


def sources(config: ConfigDict) -> dict[str, str]:
    """Where the images come from, in words."""
    name = config.data.source
    return {name: image_data(name, config.data.folder).origin} if name in DATA_SETS else {}


def dynamics(config: ConfigDict) -> Dynamics:
    """The network and the recursion of rho, side by side."""
    return pair(_network(config), _law(config), _compare)


def _network(config: ConfigDict) -> Dynamics:
    dtype, rank = jnp.dtype(config.precision), config.data.rank
    descent = heavy_ball(_loss)

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Network, Iterate]:
        key_data, key_weights = jax.random.split(key)
        inputs, targets = shared or _draw(config, key_data, dtype)
        widths = (*[config.net.width] * config.net.depth, len(targets))
        weights = orthogonal_weights(key_weights, widths, value_of(config, hyperparameters, "net.scale"), dtype)
        cross = targets if inputs is None else targets @ inputs.T
        frames = theory.invariant_frames(weights, cross, rank)
        own_data = None if shared else (inputs, targets)
        return Network(own_data, weights, frames, _rates(config, hyperparameters)), descent.init(weights)

    def step(iterate: Iterate, problem: Network, shared: tuple) -> Iterate:
        return descent.step(iterate, *(problem.data or shared), **problem.rates)

    return Dynamics(init, step, lambda *_: {})


def _law(config: ConfigDict) -> Dynamics:
    """The recursion of rho (eqs. 6, 7, and 16 for momentum): it knows eps, the rates and the depth, and no matrix."""

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[dict, Rho]:
        scale = value_of(config, hyperparameters, "net.scale")
        return _rates(config, hyperparameters), Rho(scale, scale)

    square = ft.partial(theory.rho_square, depth=config.net.depth)
    follow = square if config.data.source == "low_rank" else theory.rho_wide

    def step(rho: Rho, rates: dict, shared: tuple) -> Rho:
        return Rho(follow(*rho, **rates), rho.value)

    return Dynamics(init, step, lambda *_: {})


def _compare(states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
    """How far the network is from the law, layer by layer (the last layer of Case 2 apart)."""
    weights, rho = states.first.weights, states.second.value
    problem: Network = problems.first
    frames, start = problem.frames, problem.start
    square = len(frames) - 1
    layers = (weights[:square], start[:square], frames[1:], frames[:-1])
    W, W0, left, right = (_stack(layer) for layer in layers)
    seen = jax.vmap(_compare_layer, (0, 0, 0, 0, None))(W, W0, left, right, rho)
    seen |= {"loss": _loss(weights, *(problem.data or shared)), "rho": rho}
    if len(frames) == len(weights):
        seen["readout_leak"] = jnp.linalg.norm(weights[-1] @ frames[-1].idle)
    return seen


def _stack(trees: Sequence[PyTree]) -> PyTree:
    first, *rest = trees
    return jax.tree.map(lambda *each: jnp.stack(each), first, *rest)


def _compare_layer(W: Array, start: Array, left: theory.Frame, right: theory.Frame, rho: Array) -> dict[str, Array]:
    U, s, Vt = jnp.linalg.svd(W)
    # Momentum can carry rho below 0; the singular value is its size.
    size = jnp.abs(rho)
    moved, idle = theory.split_spectrum(s, rho, left.idle.shape[1])
    scale = jnp.linalg.norm(start) / jnp.sqrt(jnp.asarray(len(start), start.dtype))
    return {
        "singular_values": s,
        "left_angles": theory.angle_to_idle(U, left),
        "right_angles": theory.angle_to_idle(Vt.T, right),
        "idle_value": jnp.mean(s[idle]),
        "idle_deviation": jnp.max(jnp.abs(s[idle] - size)),
        "num_moved": jnp.sum(jnp.abs(s - size) > MOVED * size),
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


def _rates(config: ConfigDict, hyperparameters: Hyperparameters) -> dict[str, Array]:
    return {
        name: value_of(config, hyperparameters, f"opt.{name}") for name in ("step_size", "weight_decay", "momentum")
    }


# Whose claims are judged together, in float64 (T1.a, T1.b) and in float32 (T1.c), and the bounds on the deviations.
FAMILIES = {"Case 1": "low_rank", "Case 2": "gaussian", "digits": "digits", "Fashion-MNIST": "fashion_mnist"}
BOUNDS = {"float64": 1e-12, "float32": 2e-4}
# What Figure 10's statements were made for, after this many steps or more.
FIGURE_10 = {"net.depth": 3, "net.width": 30, "net.scale": 1.0, "data.rank": 3, "data.num_samples": 300}
FIGURE_10 |= {"opt.weight_decay": 0.0, "opt.momentum": 0.0}
FIGURE_10_STEPS = 10_000


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on Theorem 1 where the inputs are whitened, and on Figure 10 where they are not."""
    found, judged = groups(results), []
    for (precision, bound), (name, source) in itertools.product(BOUNDS.items(), FAMILIES.items()):
        kin = [g for g in found if (g.config.data.source, g.config.precision) == (source, precision)]
        for rank in sorted({g.config.data.rank for g in kin}):
            family = [g for g in kin if g.config.data.whiten and g.config.data.rank == rank]
            exact = precision == "float64"
            judged += _deviations(f"{'T1.a' if exact else 'T1.c'} {name}", family, bound) if family else []
            judged += _subspaces(f"T1.b {name}", family) if family and exact else []
    return judged + [claim for g in found if not g.config.data.whiten for claim in _without_whitening(g)]


def _deviations(id: str, family: list[Group], bound: float) -> Iterator[Claim]:
    """T1.a and T1.c: every distance from the law, relative to the largest singular value on real data."""
    relative = " / sigma_1(W)" if family[0].config.data.source in REAL else ""
    layers = "" if family[0].config.data.source == "low_rank" else " l < L"
    for name, statement in DEVIATIONS.items():
        if name in family[0].data:
            where = "at every step seen" if name == "readout_leak" else f"in every layer{layers}, at every step seen"
            values = np.concatenate([deviation(group, name) for group in family])
            about = f"{statement}{relative} {where}"
            yield judge(id, statement=about, values=values, relation="<", bound=bound, **_source(family))


def _subspaces(id: str, family: list[Group]) -> Iterator[Claim]:
    """T1.b, from t = 1 on: at t = 0 all values coincide and singular vectors mean nothing."""
    rank = family[0].config.data.rank
    counts = [[g.worst("num_moved", 1, reduce) for g in family] for reduce in ("min", "max")]
    fewest, most = (np.concatenate(each) for each in counts)
    moved = np.where(2 * rank - fewest > most - 2 * rank, fewest, most)
    about = f"exactly 2r = {2 * rank} singular values differ from rho at every t >= 1 seen"
    yield judge(id, statement=about, values=moved, relation="==", bound=2 * rank, **_source(family))
    angles = [np.maximum(g.worst("left_subspace_angles", 1), g.worst("right_subspace_angles", 1)) for g in family]
    about = "the idle subspaces stay U_2 and V_2: largest angle (rad), t >= 1"
    yield judge(id, statement=about, values=np.concatenate(angles), relation="<", bound=1e-9, **_source(family))


def _source(family: list[Group]) -> dict[str, Any]:
    depths = sorted({g.config.net.depth for g in family})
    moving = any(g.config.opt.momentum or "momentum" in g.hyperparameters for g in family)
    where = f"Theorem 1{' and eq. 16' if moving else ''}, L = {', '.join(map(str, depths))}"
    return {"kind": "law", "paper": PAPER, "figure": where, "diverged": sum(g.diverged for g in family)}


def _without_whitening(group: Group) -> list[Claim]:
    """Figure 10, at the end of the run, over the layers l < L: what remains of the law, and what does not."""
    width, rank, steps = group.config.net.width, group.config.data.rank, group.config.opt.num_steps
    final, scale = group.data.isel(step=-1), group.data.rho.isel(step=0)
    still = _fewest(np.abs(final.singular_values - scale) < 1e-3, "index")
    angles = np.maximum(final.left_subspace_angles, final.right_subspace_angles)
    largest = angles.max(("angle", "layer")).values.ravel()
    # Two subspaces of dimension d - 2r in d dimensions share d - 4r directions: those angles cannot fail to be 0,
    # so that the count of small angles is reported and not judged.
    shared = max(0, width - 4 * rank)
    small = shared + _fewest(angles < 1e-3, "angle")
    about: dict[str, Any] = {"id": f"F10 {group.config.data.source}", "paper": PAPER, "figure": "Fig. 10"}
    about["diverged"] = group.diverged
    unchanged = f"singular values (of {width}) within 1e-3 of eps at the end, in every layer l < L"
    count = f"idle-subspace angles (of {width - 2 * rank}) below 1e-3 rad; {shared} are 0 by dimension alone"
    tilt = "largest angle (rad) of an idle subspace, end to start"
    counted = report(statement=count, values=small, statistic="min", **about)
    if group.config.data.source in REAL:
        still_too = report(statement=unchanged, values=still, statistic="min", **about)
        return [still_too, counted, report(statement=tilt, values=largest, **about)]
    little = f"'the subspaces evolve very little' is false: {tilt}"
    as_printed = (
        all(leaves(group.config)[field] == value for field, value in FIGURE_10.items()) and not group.hyperparameters
    )
    stated = f"stated for the figure's own setting, after {FIGURE_10_STEPS} steps"
    about["outside"] = "" if as_printed and steps >= FIGURE_10_STEPS else stated
    return [
        judge(kind="law", statement=f"at least 20 {unchanged}", values=still, relation=">=", bound=20, **about),
        counted,
        judge(kind="printed", statement=little, values=largest, relation=">", bound=0.1, **about),
    ]


def _fewest(flags: xr.DataArray, counted: str) -> np.ndarray:
    """How many flags are set, in each member's layer where they are fewest."""
    return flags.sum(counted).min("layer").values.ravel()
