"""Few digits adapt the middle matrix of a frozen network: LoRA, compressed Deep LoRA, and Deep LoRA with d x d factors.

The network W_3 phi((W_2 + Delta) phi(W_1 x)) was trained on mirrored digits. A member draws a few digits, as they are,
and trains its adapter on their mean cross-entropy with Adam. An activation follows the matrix, and there are more
samples than directions: the compression is an approximation here. Its bases hold the rank/2 leading singular vectors
of each side of the gradient at the frozen matrix; they learn at gamma times the step size.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from ml_collections import ConfigDict

from experiments.data.datasets import digits
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number
from lawlib.compress import adapters, draw_bases
from lawlib.descent.steps import Descent, Iterate, mean_cross_entropy, transformed
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.networks import mlp
from lawlib.networks.activations import ACTIVATIONS, Activation, activation
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import fan_in_normal, orthogonal_weights
from lawlib.types import Array, Matrix, Scalar, Weights

FORMS = ("lora", "deep", "full")
PAPER = "Yaras et al. 2024"
SIDE, NUM_CLASSES, NUM_DIGITS = 8, 10, 1797
# Singular values of the change below this share of the largest are not counted.
SHARE = 0.01
VARIABLES = {
    "train_loss": Variable((), "1", "mean cross-entropy of the few digits"),
    "test_loss": Variable((), "1", "mean cross-entropy of the test digits"),
    "frozen_loss": Variable((), "1", "the same of the network without an adapter"),
    "test_accuracy": Variable((), "1", "fraction of the test digits whose largest output is their class", PAPER),
    "change_rank": Variable((), "1", f"singular values of Delta above {SHARE:.0%} of the largest", PAPER),
}
FIELDS = {
    "precision": choice("floating-point type of everything computed", "float32", "float64"),
    "net.form": choice("LoRA, Deep LoRA compressed, or with d x d factors", *FORMS),
    "net.rank": integer("inner width r of LoRA, and k of compressed Deep LoRA", at_least=1),
    "net.depth": integer("number L of factors of Deep LoRA", at_least=1),
    "net.scale": number("scale eps of the first factors of Deep LoRA", above=0.0),
    "net.outer": number("gamma, the rate of the bases over that of the small factors", at_least=0.0),
    "net.width": integer("width d of the adapted matrix", at_least=2),
    "net.activation": choice("activation phi", *(name for name, phi in ACTIVATIONS.items() if not phi.randomized)),
    "opt.step_size": number("step size of Adam", sweepable=True, above=0.0),
    "data.num_train": integer("digits that a member draws", at_least=1),
    "data.num_source": integer("mirrored digits that trained the network; members draw from the same", at_least=1),
    "data.num_test": integer("test digits", at_least=1),
    "source.num_steps": integer("steps of Adam that trained the network", unit="step", at_least=1),
    "source.step_size": number("their step size", above=0.0),
}


class Sample(NamedTuple):
    """Features phi(W_1 X) (d, N) and one-hot classes (K, N)."""

    features: Matrix
    labels: Matrix


class Shared(NamedTuple):
    """The frozen network's adapted matrix and head, the digits to draw from, and the test digits."""

    frozen: Matrix
    head: Matrix
    pool: Sample
    test: Sample


class Problem(NamedTuple):
    """What a member draws: its digits. ``step_size`` is its own."""

    train: Sample
    step_size: Scalar


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    net, data = checks.config.net, checks.config.data
    if net.form == "deep":
        rule = "must be even in compressed Deep LoRA: half of each basis is of the gradient's column or row space"
        checks.require("net.rank", net.rank % 2 == 0, rule)
        most = 2 * min(data.num_train, net.width // 2)
        checks.require("net.rank", net.rank <= most, f"must be at most {most}, twice the digits and the width d")
    checks.require("net.rank", net.rank <= net.width, f"must be at most net.width = {net.width}")
    most = data.num_source
    checks.require("data.num_train", data.num_train <= most, f"must be at most data.num_source = {most}")
    most = NUM_DIGITS - data.num_source
    checks.require("data.num_test", data.num_test <= most, f"must be at most {most}, the digits that are left")


def shared(config: ConfigDict) -> Shared:
    """The network that mirrored digits have trained, and the features of the digits as they are."""
    phi, dtype, n = activation(config.net.activation), np.dtype(config.precision), config.data.num_source
    every = digits(dtype)
    order = np.random.default_rng(config.seed).permutation(NUM_DIGITS)
    inputs, labels = jnp.asarray(every.inputs[:, order]), jnp.asarray(every.labels[:, order])
    mirrored = inputs.reshape(SIDE, SIDE, -1)[:, ::-1].reshape(inputs.shape)
    weights = _trained(config, phi, mirrored[:, :n], labels[:, :n])
    features = mlp.hidden_features(weights[:2], inputs, phi)[-1]
    parts = (slice(n), slice(n, n + config.data.num_test))
    return Shared(weights[1], weights[2], *(Sample(features[:, part], labels[:, part]) for part in parts))


def _trained(config: ConfigDict, phi: Activation, inputs: Matrix, labels: Matrix) -> Weights:
    d, dtype = config.net.width, jnp.dtype(config.precision)
    widths = (SIDE**2, d, d, NUM_CLASSES)
    keys = jax.random.split(jax.random.key(config.seed), 3)
    start = tuple(
        fan_in_normal(2**0.5)(key, (wide, narrow), dtype)
        for key, narrow, wide in zip(keys, widths, widths[1:], strict=False)
    )
    descent = transformed(
        lambda weights: mean_cross_entropy(mlp.apply(weights, inputs, phi), labels), optax.adam(config.source.step_size)
    )
    steps = config.source.num_steps
    return jax.jit(lambda start: lax.fori_loop(0, steps, lambda _, it: descent.step(it), descent.init(start)))(
        start
    ).weights


def dynamics(config: ConfigDict) -> Dynamics:
    """Adam on the adapter that the config names."""
    phi, predict = activation(config.net.activation), _dense if config.net.form == "full" else adapters.apply

    def outputs(adapter: Any, part: Sample, frozen: Shared) -> Matrix:
        return frozen.head @ phi.function(frozen.frozen @ part.features + predict(adapter, part.features))

    def loss(adapter: Any, part: Sample, frozen: Shared) -> Scalar:
        return mean_cross_entropy(outputs(adapter, part, frozen), part.labels)

    def descent(step_size: Scalar) -> Descent:
        return transformed(loss, optax.chain(optax.scale_by_adam(), _scaled(config, step_size)))

    def init(key: Array, hyperparameters: Hyperparameters, data: Shared) -> tuple[Problem, Iterate]:
        key_digits, key_adapter = jax.random.split(key)
        chosen = jax.random.permutation(key_digits, config.data.num_source)[: config.data.num_train]
        train = jax.tree.map(lambda x: x[:, chosen], data.pool)
        step_size = value_of(config, hyperparameters, "opt.step_size")
        adapter = _start(config, key_adapter, _gradient(phi, train, data), train.features)
        return Problem(train, step_size), descent(step_size).init(adapter)

    def step(_: Time, iterate: Iterate, problem: Problem, data: Shared) -> Iterate:
        return descent(problem.step_size).step(iterate, problem.train, data)

    def observe(_: Time, iterate: Iterate, problem: Problem, data: Shared) -> dict[str, Array]:
        seen = outputs(iterate.weights, data.test, data)
        right = jnp.argmax(seen, axis=0) == jnp.argmax(data.test.labels, axis=0)
        frozen = data.head @ phi.function(data.frozen @ data.test.features)
        return {
            "train_loss": loss(iterate.weights, problem.train, data),
            "test_loss": mean_cross_entropy(seen, data.test.labels),
            "frozen_loss": mean_cross_entropy(frozen, data.test.labels),
            "test_accuracy": jnp.mean(right.astype(seen.dtype)),
            "change_rank": _rank(iterate.weights),
        }

    return until(Dynamics(init, step, observe), finite=lambda iterate: iterate.weights)


def _dense(weights: Weights, inputs: Matrix) -> Matrix:
    for W in weights:
        inputs = W @ inputs
    return inputs


def _scaled(config: ConfigDict, step_size: Scalar) -> optax.GradientTransformation:
    """Minus the step size, times gamma for the bases of Deep LoRA."""
    net = config.net

    def update(updates: Any, _: Any) -> Any:
        sizes = jax.tree.map(lambda _: step_size, updates)
        if net.form == "deep":
            sizes = adapters.rates(step_size, outer=net.outer, depth=net.depth)
        return jax.tree.map(lambda U, eta: -eta * U, updates, sizes)

    return optax.stateless(update)


def _gradient(phi: Activation, train: Sample, data: Shared) -> Matrix:
    """The derivatives D of the loss in W_2 phi(W_1 X), sample by sample: G(W_2) = D phi(W_1 X)^T."""
    return jax.grad(lambda Z: mean_cross_entropy(data.head @ phi.function(Z), train.labels))(
        data.frozen @ train.features
    )


def _start(config: ConfigDict, key: Array, derivatives: Matrix, features: Matrix) -> Any:
    net, dtype = config.net, jnp.dtype(config.precision)
    if net.form == "lora":
        return adapters.lora(key, (net.width, net.width), net.rank, dtype)
    if net.form == "full":
        return orthogonal_weights(key, (net.width,) * (net.depth + 1), net.scale, dtype)
    gradient = adapters.gradient_svd(derivatives, features, net.rank // 2)
    bases = draw_bases(key, gradient.left, gradient.right)
    return adapters.deep_lora(bases, scale=net.scale, depth=net.depth)


def _rank(adapter: Any) -> Scalar:
    """The number of singular values of Delta above ``SHARE`` of the largest; 0 of Delta = 0."""
    if isinstance(adapter, adapters.Adapter):
        left, right = (jnp.linalg.qr(factor, mode="r") for factor in adapters.change(adapter))
        change = left @ right.T
    else:
        change = end_to_end(adapter)
    values = jnp.linalg.svd(change, compute_uv=False)
    return jnp.sum((values > SHARE * values[0]).astype(change.dtype))
