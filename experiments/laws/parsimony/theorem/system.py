"""The law of parsimony (Yaras et al. 2023): a deep linear network and the law that predicts it.

Two systems run as a pair from one draw: the network under gradient descent, and the recursion of rho. Observed is
how far the network is from the law, in every layer.
"""

import functools as ft
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.data.datasets import DATA_SETS, digits, flattened, image_data
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, flag, integer, number, text
from experiments.runner.store import InputError
from lawlib.descent.steps import Iterate, heavy_ball, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Pair, Time, pair
from lawlib.linalg.subspaces import principal_angles
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import gaussian_data, low_rank_target, whiten
from lawlib.theory import parsimony as theory
from lawlib.types import Array, PyTree, Weights

DIGITS_CLASSES, DIGITS_PIXELS, DIGITS_RANK = 10, 64, 61
# The least number of images of Fashion-MNIST whose pixels have full row rank and can be whitened, as they are and
# averaged over squares of 2 x 2: one pixel is empty in the first 4879 images.
LEAST_IMAGES = {1: 5000, 2: 1000}
# A singular value counts as moved when it differs from rho by more than this, relative to rho.
MOVED = 1e-9
PAPER = "Yaras et al. 2023"

LAYER, TRIPLET, ANGLE = ("layer",), ("layer", "index"), ("layer", "angle")
OPEN_ANGLES = "the 2r principal angles of the {} idle subspace to {} that the dimensions leave open; the others are 0"
VARIABLES = {
    "loss": Variable((), "1", "1/2 ||W_{L:1} X - Y||_F^2, a sum over entries", f"{PAPER}, eq. 2"),
    "rho": Variable((), "1", "idle singular value that the recursion predicts", f"{PAPER}, eqs. 6, 7, 16"),
    "singular_values": Variable(TRIPLET, "1", "all singular values of W_l, descending", f"{PAPER}, eq. 8"),
    "left_angles": Variable(TRIPLET, "rad", "angle of each left singular vector to the idle subspace U_{l,2}"),
    "right_angles": Variable(TRIPLET, "rad", "angle of each right singular vector to the idle subspace V_{l,2}"),
    "idle_value": Variable(LAYER, "1", "mean of the d - 2r singular values closest to |rho|"),
    "idle_deviation": Variable(LAYER, "1", "|repeated singular value - rho(t)|", f"{PAPER}, eq. 5"),
    "num_moved": Variable(LAYER, "1", f"singular values that differ from |rho| by more than {MOVED:g} |rho|"),
    "left_subspace_angles": Variable(ANGLE, "rad", OPEN_ANGLES.format("left", "U_{l,2}")),
    "right_subspace_angles": Variable(ANGLE, "rad", OPEN_ANGLES.format("right", "V_{l,2}")),
    "block_deviation": Variable(LAYER, "1", "||U^T W(t) V - [W~ 0; 0 rho I]||_F", f"{PAPER}, eq. 5"),
    "excess": Variable(LAYER, "1", "sigma_{2r+1}(W(t) - (rho(t)/eps) W(0))", f"{PAPER}, eq. 5"),
    "readout_leak": Variable((), "1", "Case 2: ||W_L(t) U_{L-1,2}||_F", f"{PAPER}, Lemma 2"),
}


class Network(NamedTuple):
    """What one network draws once: its data, W(0), the frames of Theorem 1 and its rates.

    The data are (X, Y), (None, Phi) if X = I, or None if all members share them.
    """

    data: tuple | None
    start: Weights
    frames: tuple[theory.Frame, ...]
    rates: dict[str, Array]


class Rho(NamedTuple):
    """The law's own state: the idle singular value now and a step before."""

    value: Array | float
    before: Array | float


def _is_images(config: ConfigDict) -> bool:
    return config.data.source in DATA_SETS


def _is_conditioned(config: ConfigDict) -> bool:
    return config.data.source == "conditioned"


FIELDS = {
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width d of the inputs and the hidden layers", at_least=1),
    "net.scale": number("scale eps of the first weights", sweepable=True, above=0.0),
    "opt.step_size": number("step size eta on the sum loss", sweepable=True, above=0.0),
    "opt.weight_decay": number("weight decay lambda", sweepable=True, at_least=0.0),
    "opt.momentum": number("Polyak's momentum mu", sweepable=True, at_least=0.0, below=1.0),
    "data.source": choice(
        "a d x d target of rank r with X = I (Case 1), or inputs and r outputs (Case 2)",
        "low_rank",
        "gaussian",
        "digits",
        "fashion_mnist",
        "conditioned",
    ),
    "data.condition": number(
        "condition number kappa of X X^T, whose eigenvalues are from kappa^(-1/2) to kappa^(1/2)",
        sweepable=True,
        when=_is_conditioned,
        at_least=1.0,
    ),
    "data.whiten": flag("whether the inputs are whitened to X X^T = I"),
    "data.rank": integer("rank r of the target, the number of outputs in Case 2", at_least=1),
    "data.num_samples": integer("number of samples N of Gaussian data and of images", at_least=1),
    "data.pool": choice("side of the squares of pixels that are averaged", *LEAST_IMAGES, when=_is_images),
    "data.folder": text("folder of the published files; empty: the default places", when=_is_images),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    width, data = checks.config.net.width, checks.config.data
    checks.require("net.width", width > 2 * data.rank, f"must exceed 2 * data.rank = {2 * data.rank}")
    if data.source == "low_rank":
        checks.require("data.whiten", data.whiten, "must be True for data.source = 'low_rank', whose inputs are I")
    elif data.source == "conditioned" or (data.source == "gaussian" and data.whiten):
        checks.require("data.num_samples", data.num_samples >= width, f"must be >= net.width = {width} to be whitened")
        plain = data.source == "gaussian" or not data.whiten
        checks.require("data.whiten", plain, "must be False for data.source = 'conditioned', whose inputs are scaled")
    elif data.source == "digits":
        inputs = DIGITS_RANK if data.whiten else DIGITS_PIXELS
        checks.require("net.width", width == inputs, f"must be {inputs}, the digits' dimension for this data.whiten")
        checks.require("data.rank", data.rank == DIGITS_CLASSES, f"must be {DIGITS_CLASSES}, one output per digit")
    elif data.source == "fashion_mnist":
        _check_images(checks)


def _check_images(checks: Checks) -> None:
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
    if data.source == "digits":
        found, dimension = digits(dtype), DIGITS_RANK
    elif data.source in DATA_SETS:
        train = image_data(data.source, data.folder).train
        found, dimension = flattened(train, data.num_samples, data.pool, dtype), config.net.width
    else:
        return ()
    inputs = jnp.asarray(found.inputs)
    return whiten(inputs, dimension).inputs if data.whiten else inputs, jnp.asarray(found.labels)


def sources(config: ConfigDict) -> dict[str, str]:
    """Where the images are from, in words."""
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
        if inputs is not None and _is_conditioned(config):
            inputs = _scaled(inputs, value_of(config, hyperparameters, "data.condition"))
        widths = (*[config.net.width] * config.net.depth, len(targets))
        weights = orthogonal_weights(key_weights, widths, value_of(config, hyperparameters, "net.scale"), dtype)
        cross = targets if inputs is None else targets @ inputs.T
        frames = theory.invariant_frames(weights, cross, rank)
        own_data = None if shared else (inputs, targets)
        return Network(own_data, weights, frames, _rates(config, hyperparameters)), descent.init(weights)

    def step(_: Time, iterate: Iterate, problem: Network, shared: tuple) -> Iterate:
        return descent.step(iterate, *(problem.data or shared), **problem.rates)

    return Dynamics(init, step, lambda *_: {})


def _law(config: ConfigDict) -> Dynamics:
    """The recursion of rho (eqs. 6, 7, and 16 for momentum): it knows eps, the rates and the depth, and no matrix."""

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[dict, Rho]:
        scale = value_of(config, hyperparameters, "net.scale")
        return _rates(config, hyperparameters), Rho(scale, scale)

    square = ft.partial(theory.rho_square, depth=config.net.depth)
    follow = square if config.data.source == "low_rank" else theory.rho_wide

    def step(_: Time, rho: Rho, rates: dict, shared: tuple) -> Rho:
        return Rho(follow(rho.value, before=rho.before, **rates), rho.value)

    return Dynamics(init, step, lambda *_: {})


def _compare(_: Time, states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
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
    # Momentum can carry rho below 0; the singular value is its absolute value.
    size = jnp.abs(rho)
    moved, idle = theory.split_spectrum(s, rho=rho, num_idle=left.idle.shape[1])
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
    sizes = {"num_inputs": width, "num_outputs": rank, "num_samples": config.data.num_samples}
    inputs, targets = gaussian_data(key, **sizes, dtype=dtype)
    is_white = config.data.whiten or _is_conditioned(config)
    return (whiten(inputs, width).inputs if is_white else inputs), targets


def _scaled(inputs: Array, condition: Array) -> Array:
    """Whitened inputs times D^{1/2}: X X^T = D, whose entries rise evenly on a log axis, of geometric mean 1.

    The layers' vectors are uniformly distributed, so that the coordinates may be those of X X^T.
    """
    exponents = jnp.linspace(-0.25, 0.25, len(inputs), dtype=inputs.dtype)
    return condition ** exponents[:, None] * inputs


def _rates(config: ConfigDict, hyperparameters: Hyperparameters) -> dict[str, Array]:
    return {
        name: value_of(config, hyperparameters, f"opt.{name}") for name in ("step_size", "weight_decay", "momentum")
    }
