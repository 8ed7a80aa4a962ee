"""Progressive collapse (Yaras et al. 2023, Section 4.2): how each layer of a trained network separates the classes.

Linear and ReLU networks under gradient descent on K classes, from small weights to a tolerance on the mean loss.
Each tolerance is a member of its own, so that the features are seen at the very step at which it is reached.
"""

import functools as ft
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.data.datasets import digits
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number
from lawlib.descent.flows import adaptive_step
from lawlib.descent.steps import Iterate, evaluated, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.networks.activations import ACTIVATIONS, LINEAR, Activation
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import fan_in_normal, fan_in_uniform, orthogonal, orthogonal_weights
from lawlib.networks.mlp import apply, hidden_features
from lawlib.problems.synthetic import whiten
from lawlib.theory import collapse as theory
from lawlib.types import Array, Scalar, Weights

STUDIES = ("depth", "scale", "init", "theorem", "digits")
INITS = ("orthogonal", "normal", "uniform", "corollary")
# The first images of every digit span 51 dimensions or more from six of each on, all of them 61.
DIGITS_CLASSES, DIGITS_SPAN, DIGITS_PER_CLASS = 10, 50, 174
PAPER = "Yaras et al. 2023"

VARIABLES = {
    "loss": Variable(
        (), "1", "1/2 mean (outputs - Y)^2 over the K N entries; the sum is K N times that", f"{PAPER}, eq. 2"
    ),
    "accuracy": Variable((), "1", "fraction of the samples whose largest output is that of their class"),
    "separation": Variable(
        ("layer",), "1", "D_l of the features after layer l = 0 (the inputs), ..., L-1", f"{PAPER}, eq. 13"
    ),
    "imbalance": Variable(("joint",), "1", "||W_{l+1}^T W_{l+1} - W_l W_l^T||_F, l = 1, ..., L-1", f"{PAPER}, eq. 23"),
    "unchanged": Variable(
        (), "1", "largest |sigma_i(W_l) / eps - 1|, l < L, of the d - 2K indices i nearest to it", f"{PAPER}, Theorem 2"
    ),
}


class Problem(NamedTuple):
    """What a member draws once: its data (X, Y), None where all share them, and its own numbers."""

    data: tuple[Array, Array] | None
    step_size: Array
    tolerance: Array
    scale: Array


def _is_theorem(config: ConfigDict) -> bool:
    return config.study == "theorem"


# The flow's solver has to tell residuals of 1e-8, whose mean loss is the smallest tolerance, from 0.
RTOL, ATOL = 1e-11, 1e-13

FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "study": choice("the figure or theorem that the runs are for", *STUDIES),
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width d of the inputs and the hidden layers", at_least=2),
    "net.scale": number("scale eps of the first weights", sweepable=True, above=0.0),
    "net.activation": choice("activation of the hidden layers", "linear", "relu"),
    "net.init": choice("distribution of the first weights", *INITS),
    "opt.step_size": number("step size eta on the sum loss", sweepable=True, above=0.0),
    "opt.method": choice(
        "gradient descent, or gradient flow observed after every step size", "descent", "flow", when=_is_theorem
    ),
    "opt.tolerance": number("mean loss at which a member ends; 0: it makes all steps", sweepable=True, at_least=0.0),
    "data.source": choice("inputs: a Haar orthogonal matrix, or whitened digits", "orthogonal", "digits"),
    "data.num_classes": integer("number of classes K", at_least=2),
    "data.samples_per_class": integer("samples n of each class", at_least=2),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    study, width, data = checks.config.study, checks.config.net.width, checks.config.data
    is_digits = data.source == "digits"
    checks.require("study", (study == "digits") == is_digits, f"cannot be that for data.source = {data.source!r}")
    checks.require("net.width", width > data.num_classes, f"must exceed data.num_classes = {data.num_classes}")
    num_samples = data.num_classes * data.samples_per_class
    if is_digits:
        few = data.samples_per_class <= DIGITS_PER_CLASS
        checks.require("data.num_classes", data.num_classes == DIGITS_CLASSES, "must be 10 for the digits")
        checks.require("data.samples_per_class", few, f"must be at most {DIGITS_PER_CLASS}, the rarest digit's images")
        most = min(DIGITS_SPAN, num_samples)
        checks.require("net.width", width <= most, f"must be at most {most}, the digits' dimension once whitened")
    else:
        rule = f"must be {num_samples} = data.num_classes * data.samples_per_class, for X is square and orthogonal"
        checks.require("net.width", width == num_samples, rule)
        large = data.samples_per_class >= 3 or study != "theorem"
        checks.require("data.samples_per_class", large, "must be at least 3 for Theorem 2, which asks for d > 2K")


def shared(config: ConfigDict) -> tuple:
    """The first n images of every digit, whitened to the network's width, for all members; nothing where X is drawn."""
    if config.data.source != "digits":
        return ()
    data = digits(np.dtype(config.precision))
    first = np.concatenate([np.flatnonzero(row)[: config.data.samples_per_class] for row in data.labels])
    return whiten(jnp.asarray(data.inputs[:, first]), config.net.width).inputs, jnp.asarray(data.labels[:, first])


def dynamics(config: ConfigDict) -> Dynamics:
    """Gradient descent or flow on the sum loss, stopped where the mean loss first falls below the tolerance."""
    activation, predict = _network(config)

    def loss(weights: Weights, inputs: Array, labels: Array) -> Scalar:
        return sum_squared_error(predict(weights, inputs), labels)

    def mean_loss(iterate: Iterate, problem: Problem, shared: tuple) -> Scalar:
        _, labels = problem.data or shared
        return iterate.memory.loss / labels.size

    descent = evaluated(loss)

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Iterate]:
        key_data, key_weights = jax.random.split(key)
        own_data = None if shared else _draw(config, key_data)
        weights = _start(config, key_weights, value_of(config, hyperparameters, "net.scale"))
        rates = (value_of(config, hyperparameters, path) for path in ("opt.step_size", "opt.tolerance", "net.scale"))
        return Problem(own_data, *rates), descent.init(weights, *(own_data or shared))

    def step(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Iterate:
        data = problem.data or shared
        if _is_theorem(config) and config.opt.method == "flow":

            def downhill(weights: Weights) -> Weights:
                return jax.tree.map(jnp.negative, jax.grad(loss)(weights, *data))

            weights = adaptive_step(downhill, iterate.weights, problem.step_size, rtol=RTOL, atol=ATOL)
            return descent.init(weights, *data)
        return descent.step(iterate, *data, step_size=problem.step_size, weight_decay=0.0)

    def observe(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> dict[str, Array]:
        inputs, labels = problem.data or shared
        features = hidden_features(iterate.weights, inputs, activation)
        right = jnp.argmax(predict(iterate.weights, inputs), axis=0) == jnp.argmax(labels, axis=0)
        return {
            "loss": mean_loss(iterate, problem, shared),
            "accuracy": jnp.mean(right.astype(labels.dtype)),
            "separation": jnp.stack([theory.separation(Z, labels) for Z in features]),
            "imbalance": theory.imbalance(iterate.weights),
        } | ({"unchanged": _unchanged(iterate.weights, problem.scale, len(labels))} if _is_theorem(config) else {})

    def done(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Array:
        return mean_loss(iterate, problem, shared) < problem.tolerance

    return until(Dynamics(init, step, observe), done)


def _unchanged(weights: Weights, scale: Array, num_classes: int) -> Array:
    """How far the d - 2K singular values that are nearest to eps in all layers l < L are from it, relative."""
    values = jnp.stack([jnp.linalg.svd(W, compute_uv=False) for W in weights[:-1]])
    off = jnp.sort(jnp.max(jnp.abs(values / scale - 1), axis=0))
    return off[len(off) - 2 * num_classes - 1]


def _network(config: ConfigDict) -> tuple[Activation, Callable[[Weights, Array], Array]]:
    """The activation, and the map of weights and inputs to outputs."""
    if config.net.activation == "linear":
        # The product first: with more samples than dimensions it spares nearly all of the work.
        return LINEAR, lambda weights, inputs: end_to_end(weights) @ inputs
    relu = ACTIVATIONS["relu"]
    return relu, ft.partial(apply, phi=relu)


def _draw(config: ConfigDict, key: Array) -> tuple[Array, Array]:
    """A Haar orthogonal X (d, d), and Y = I_K kron 1_n^T: the classes one after the other."""
    width, n, K = config.net.width, config.data.samples_per_class, config.data.num_classes
    dtype = jnp.dtype(config.precision)
    (inputs,) = orthogonal_weights(key, (width, width), 1.0, dtype)
    return inputs, jnp.repeat(jnp.eye(K, dtype=dtype), n, axis=1)


def _start(config: ConfigDict, key: Array, scale: Array) -> Weights:
    """W(0): eps-orthogonal (for Corollary 1 with W_L(0) = eps [U_L 0]), or entries of variance eps^2 / d."""
    width, K, depth = config.net.width, config.data.num_classes, config.net.depth
    widths, dtype = (*[width] * depth, K), jnp.dtype(config.precision)
    if config.net.init == "orthogonal":
        return orthogonal_weights(key, widths, scale, dtype)
    if config.net.init == "corollary":
        key_hidden, key_last = jax.random.split(key)
        last = orthogonal(scale)(key_last, (K, K), dtype)
        return *orthogonal_weights(key_hidden, widths[:-1], scale, dtype), jnp.pad(last, ((0, 0), (0, width - K)))
    init = {"normal": fan_in_normal, "uniform": fan_in_uniform}[config.net.init](scale)
    shapes = [(out, into) for into, out in itertools.pairwise(widths)]
    return tuple(init(k, shape, dtype) for k, shape in zip(jax.random.split(key, depth), shapes, strict=True))
