"""Low-rank dynamics of four-layer networks with smooth activations (Xu et al. 2026, Sections 2.1 and 4, Appendix A).

W_L phi(W_{L-1} ... phi(W_1 X)) from eps-orthogonal layers, on a Gaussian mixture or on digits. The study "spectra"
observes the singular values and subspaces of W_1, ..., W_{L-1}; the others observe in which block of eq. (9) their
change lies. A step is an epoch: one pass over the data in minibatches, or one step on all data.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from ml_collections import ConfigDict
from optax.contrib import MuonDimensionNumbers, muon

from experiments.data.datasets import digits
from experiments.laws.smooth_mlp.common import PAPER
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, flag, integer, number
from lawlib.descent.preconditioners import shampoo
from lawlib.descent.steps import Descent, Iterate, epoch_batches, mean_cross_entropy, sum_squared_error, transformed
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.linalg.subspaces import block_fractions, sin_theta
from lawlib.networks.activations import ACTIVATIONS, activation
from lawlib.networks.initializers import orthogonal, orthogonal_weights
from lawlib.networks.mlp import apply
from lawlib.problems.synthetic import gaussian_mixture, whiten_symmetric
from lawlib.theory.smooth_mlp import big_and_small, transported
from lawlib.types import Array, Scalar, Weights

METHODS = {"sgd": "SGD", "adam": "Adam", "muon": "Muon", "shampoo": "Shampoo", "sign": "sign descent"}
LOSSES = {"squared": sum_squared_error, "cross_entropy": mean_cross_entropy}
DIGITS = {"data.num_classes": 10, "data.dimension": 61, "data.num_samples": 1797}

VARIABLES = {
    "loss": Variable(
        (),
        "1",
        "on all the data: 1/2 ||f(X) - Y||_F^2, a sum over entries, or cross-entropy, a mean over samples; RReLU with "
        "its mean slope",
        f"{PAPER}, eq. 2",
    ),
    "accuracy": Variable((), "1", "fraction of the samples whose largest output is that of their class"),
    "singular_values": Variable(("layer", "index"), "1", "sigma_i(W_l), l = 1, ..., L-1, descending"),
    "middle": Variable(
        ("layer", "side"),
        "1",
        "||sin Theta||_F^2 of the middle d - 2K left and right singular subspaces of W_l with U_{l,2} and V_{l,2} of "
        "eq. 8; arbitrary at step 0, where all singular values are eps",
        f"{PAPER}, Appendix A.1",
    ),
    **{
        name: Variable(
            ("layer", "side"),
            "1",
            f"||sin Theta||_F^2 of the K {which} left and right singular subspaces of W_l with those at step 1",
            f"{PAPER}, Appendix A.1",
        )
        for name, which in (("top", "leading"), ("bottom", "last"))
    },
    "fractions": Variable(
        ("layer", "block"),
        "1",
        "||W~_{l,i}(t) - W~_{l,i}(0)||_F^2 / ||W_l(t) - W_l(0)||_F^2, i = 1, ..., 4; not a number at step 0",
        f"{PAPER}, eq. 9",
    ),
    "random_fractions": Variable(
        ("layer", "block"), "1", "the same fractions, with a random subspace in the place of S_small"
    ),
    "start_gradient": Variable(
        ("near_K",), "1", "sigma_i(G_1(0)) / sigma_1(G_1(0)), i = K-1, K, K+1: S_big rests on the first K"
    ),
}


class Bases(NamedTuple):
    """The bases of eq. (8) from S_small, and from a random subspace of its size: B_0, ..., B_{L-1} of either."""

    small: tuple[Array, ...]
    random: tuple[Array, ...]


class Problem(NamedTuple):
    """A member's own draws: its data (X, Y), None where all share them, W_1(0), ..., W_{L-1}(0) and their geometry.

    ``key`` is that of all later draws. ``first`` holds the hidden layers after one step, from which the study of
    spectra measures top and bottom subspaces.
    """

    data: tuple[Array, Array] | None
    key: Array
    step_size: Array
    hidden: tuple[Array, ...]
    first: tuple[Array, ...]
    bases: Bases
    start_gradient: Array


FIELDS = {
    "study": choice("the figures that the runs are for", "spectra", "deep", "optimizers", "symmetry"),
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width m of the hidden layers", at_least=2),
    "net.scale": number("scale eps of the hidden layers' first weights", sweepable=True, above=0.0),
    "net.activation": choice("activation phi", *ACTIVATIONS),
    "net.last": choice("first weights of the last layer: eps-orthogonal, or U(-1, 1)", "orthogonal", "uniform"),
    "opt.method": choice("optimizer", *METHODS),
    "opt.loss": choice("loss: half the squared error summed over entries, or mean cross-entropy", *LOSSES),
    "opt.step_size": number("step size eta", sweepable=True, above=0.0),
    "opt.momentum": number(
        "momentum of SGD (not Nesterov's), beta of Muon; the others have none or their own", at_least=0.0, below=1.0
    ),
    "opt.batch_size": integer("samples in a batch; a step is an epoch", at_least=1),
    "data.source": choice("Gaussian mixture, or the digits of scikit-learn", "mixture", "digits"),
    "data.dimension": integer("dimension d of the inputs", at_least=3),
    "data.num_classes": integer("number of classes K", at_least=1),
    "data.num_samples": integer("number of samples N", at_least=1),
    "data.whiten": flag("whether the inputs are whitened, X X^T = I"),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    net, data = checks.config.net, checks.config.data
    d, K, N = data.dimension, data.num_classes, data.num_samples
    checks.require("data.num_classes", d > 2 * K, f"must be below data.dimension / 2 = {d / 2:g}, else no S_small")
    checks.require("data.num_samples", N % K == 0 or data.source == "digits", f"must be a multiple of {K} classes")
    checks.require("data.num_samples", d <= N or not data.whiten, f"must be at least data.dimension = {d} to whiten")
    checks.require("net.width", net.width >= d, f"must be at least data.dimension = {d}: no layer may narrow")
    checks.require("opt.batch_size", checks.config.opt.batch_size <= N, f"must be at most data.num_samples = {N}")
    if checks.config.study == "spectra":
        checks.require("net.width", net.width == d, f"must be data.dimension = {d}, whose subspaces are compared")
    if data.source == "digits":
        values = {"data.dimension": d, "data.num_classes": K, "data.num_samples": N}
        for field, only in DIGITS.items():
            checks.require(field, values[field] == only, f"must be {only} for the digits")


def shared(config: ConfigDict) -> tuple:
    """The digits without the three pixels that are empty in every image, for all members; nothing for a mixture."""
    if config.data.source != "digits":
        return ()
    data = digits(np.dtype(config.precision))
    inputs = jnp.asarray(data.inputs[data.inputs.any(axis=1)])
    return _whitened(config, inputs), jnp.asarray(data.labels)


def dynamics(config: ConfigDict) -> Dynamics:
    """Epochs of an optimizer, observed through the geometry that W(0) and G_1(0) fix."""
    phi, geometry = activation(config.net.activation), _spectra if config.study == "spectra" else _blocks

    def loss(weights: Weights, inputs: Array, labels: Array, key: Array | None = None) -> Scalar:
        return LOSSES[config.opt.loss](apply(weights, inputs, phi, key), labels)

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Iterate]:
        key_data, key_weights, key_steps, key_random = jax.random.split(key, 4)
        data = None if shared else _mixture(config, key_data)
        scale, step_size = (value_of(config, hyperparameters, field) for field in ("net.scale", "opt.step_size"))
        weights = _start(config, key_weights, scale)
        descent = transformed(loss, _method(config, step_size))
        iterate, start = descent.init(weights), jnp.asarray(0, jnp.int32)
        is_compared = config.study == "spectra"
        samples = data or shared
        first = _epoch(config, descent, start, iterate, key_steps, *samples).weights[:-1] if is_compared else ()
        gradient = jax.grad(loss)(weights, *samples, _slopes_key(key_steps, start))[0]
        bases, start_gradient = _geometry(config, weights[:-1], gradient, scale, key_random)
        return Problem(data, key_steps, step_size, weights[:-1], first, bases, start_gradient), iterate

    def step(t: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Iterate:
        descent = transformed(loss, _method(config, problem.step_size))
        return _epoch(config, descent, t, iterate, problem.key, *(problem.data or shared))

    def observe(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> dict[str, Array]:
        inputs, labels = problem.data or shared
        outputs = apply(iterate.weights, inputs, phi)
        right = jnp.argmax(outputs, axis=0) == jnp.argmax(labels, axis=0)
        seen = {
            "loss": LOSSES[config.opt.loss](outputs, labels),
            "accuracy": jnp.mean(right.astype(labels.dtype)),
            "start_gradient": problem.start_gradient,
        }
        return seen | geometry(config, iterate.weights[:-1], problem)

    return until(Dynamics(init, step, observe))


# Draws and steps ------------------------------------------------------------------------------------------------------


def _mixture(config: ConfigDict, key: Array) -> tuple[Array, Array]:
    data = config.data
    sizes = {name: data[name] for name in ("dimension", "num_classes", "num_samples")}
    X, Y = gaussian_mixture(key, **sizes, dtype=jnp.dtype(config.precision))
    return _whitened(config, X), Y


def _whitened(config: ConfigDict, inputs: Array) -> Array:
    return whiten_symmetric(inputs).inputs if config.data.whiten else inputs


def _start(config: ConfigDict, key: Array, scale: Array) -> Weights:
    """eps-orthogonal hidden layers, and W_L eps-orthogonal too or U(-1, 1) in every entry."""
    net, dtype = config.net, jnp.dtype(config.precision)
    key_hidden, key_last = jax.random.split(key)
    hidden = orthogonal_weights(key_hidden, (config.data.dimension, *[net.width] * (net.depth - 1)), scale, dtype)
    shape = (config.data.num_classes, net.width)
    if net.last == "orthogonal":
        return *hidden, orthogonal(scale)(key_last, shape, dtype)
    return *hidden, jax.random.uniform(key_last, shape, dtype, -1, 1)


def _method(config: ConfigDict, step_size: Array) -> optax.GradientTransformation:
    """SGD with the momentum of the heavy ball (not Nesterov's), Adam with its defaults, or one of the others."""
    momentum = config.opt.momentum
    if config.opt.method == "adam":
        return optax.adam(step_size)
    if config.opt.method == "sgd":
        return optax.sgd(step_size, momentum or None)
    if config.opt.method == "sign":
        return optax.sign_sgd(step_size)
    if config.opt.method == "shampoo":
        return shampoo(step_size)
    # Our matrices are (out, in). Muon scales a step by sqrt(max(1, out / in)) and needs to know which axis is which.
    return muon(step_size, beta=momentum, muon_weight_dimension_numbers=MuonDimensionNumbers(1, 0))


def _epoch(
    config: ConfigDict, descent: Descent, t: Time, iterate: Iterate, key: Array, inputs: Array, labels: Array
) -> Iterate:
    """One pass over the data; the slopes of a randomized activation are drawn anew in every batch."""
    key_order, _ = jax.random.split(key)
    if config.opt.batch_size == labels.shape[1]:
        return descent.step(iterate, inputs, labels, _slopes_key(key, t))
    batches = epoch_batches(key_order, epoch=t, num_samples=labels.shape[1], batch_size=config.opt.batch_size)

    def on_batch(iterate: Iterate, drawn: tuple[Array, Array]) -> tuple[Iterate, None]:
        batch, key = drawn
        return descent.step(iterate, inputs[:, batch], labels[:, batch], key), None

    iterate, _ = lax.scan(on_batch, iterate, (batches, jax.random.split(_slopes_key(key, t), len(batches))))
    return iterate


def _slopes_key(key: Array, t: Time) -> Array:
    _, key_slopes = jax.random.split(key)
    return jax.random.fold_in(key_slopes, t)


# Geometry, in float64 whatever the network is trained in --------------------------------------------------------------


def _geometry(
    config: ConfigDict, hidden: tuple[Array, ...], gradient: Array, scale: Array, key: Array
) -> tuple[Bases, Array]:
    hidden, gradient, scale = _double((hidden, gradient, scale))
    K, d = config.data.num_classes, config.data.dimension
    small = big_and_small(hidden[0], gradient, K).small
    (frame,) = orthogonal_weights(key, (d, d), 1.0, jnp.float64)
    s = jnp.linalg.svd(gradient, compute_uv=False)
    bases = Bases(*(transported(hidden, basis, scale) for basis in (small, frame[:, 2 * K :])))
    # The value before the first is the first: with one class there is none.
    return bases, s[jnp.asarray([max(K - 2, 0), K - 1, K])] / s[0]


def _spectra(config: ConfigDict, hidden: tuple[Array, ...], problem: Problem) -> dict[str, Array]:
    """Singular values, and the change of the top K, the middle d - 2K and the bottom K singular subspaces."""
    K, B = config.data.num_classes, problem.bases.small
    values, parts = zip(*(_parts(W, K) for W in _double(hidden)), strict=True)
    starts = [_parts(W, K)[1] for W in _double(problem.first)]
    eq_8 = [(B[layer + 1], B[layer]) for layer in range(len(hidden))]
    return {
        "singular_values": jnp.stack(values),
        "middle": _changes([part["middle"] for part in parts], eq_8),
        "top": _changes([part["top"] for part in parts], [start["top"] for start in starts]),
        "bottom": _changes([part["bottom"] for part in parts], [start["bottom"] for start in starts]),
    }


def _parts(W: Array, K: int) -> tuple[Array, dict[str, tuple[Array, Array]]]:
    """The singular values, and the left and right bases of each part of the spectrum."""
    U, s, Vt = jnp.linalg.svd(W)
    cuts = {"top": slice(0, K), "middle": slice(K, -K), "bottom": slice(-K, None)}
    return s, {name: (U[:, cut], Vt[cut].T) for name, cut in cuts.items()}


def _changes(now: list[tuple[Array, Array]], before: list[tuple[Array, Array]]) -> Array:
    """||sin Theta||_F^2, layers first and sides second."""
    squares = [
        [jnp.square(sin_theta(*sides)) for sides in zip(*layers, strict=True)]
        for layers in zip(now, before, strict=True)
    ]
    return jnp.stack([jnp.stack(row) for row in squares])


def _blocks(config: ConfigDict, hidden: tuple[Array, ...], problem: Problem) -> dict[str, Array]:
    """The shares of the blocks of eq. (9) in the change, of S_small and of a random subspace in its place."""
    del config
    now, start = _double((hidden, problem.hidden))
    changes = [W - W_0 for W, W_0 in zip(now, start, strict=True)]

    def fractions(B: tuple[Array, ...]) -> Array:
        return jnp.stack([block_fractions(D, B[layer + 1], B[layer]) for layer, D in enumerate(changes)])

    return {"fractions": fractions(problem.bases.small), "random_fractions": fractions(problem.bases.random)}


def _double(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(jnp.float64), tree)
