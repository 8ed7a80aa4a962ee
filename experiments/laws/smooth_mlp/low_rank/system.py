"""Low-rank MLPs on real images (Xu et al. 2026, Section 5.1.1, Appendix F): full, in S_big, turned out of it, random.

Full-batch gradient descent on the squared error summed over all images, with a step size that falls to 0 along a
cosine. The images stay on the device; a step goes through them in batches that fit the caches.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from experiments.data.datasets import DATA_SETS, image_data
from experiments.data.idx import Images
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.fields import swept
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number, text
from experiments.runner.store import InputError
from lawlib.compress.low_rank_init import INNER, low_rank_init, padded_basis, random_init, rotate_by
from lawlib.descent.steps import Descent, Iterate, sum_squared_error, summed_over_batches, transformed
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.networks import low_rank, mlp
from lawlib.networks.activations import ACTIVATIONS, Activation, activation
from lawlib.networks.initializers import fan_in_uniform, orthogonal_weights
from lawlib.theory.smooth_mlp import big_and_small
from lawlib.types import Array, Scalar, Weights

PAPER = "Xu et al. 2026"
# Mean and standard deviation of all pixels of the training images in [0, 1], as in the paper, and of the pixels of
# images in which squares of 2 x 2 are averaged.
STANDARD = {"fashion_mnist": {1: (0.28604, 0.35302), 2: (0.28604, 0.33007)}}

VARIABLES = {
    "train_loss": Variable((), "1", "1/2 ||f(X) - Y||_F^2 / N on the training images", f"{PAPER}, eq. 2"),
    "test_loss": Variable((), "1", "1/2 ||f(X) - Y||_F^2 / N on the test images", f"{PAPER}, Fig. 6"),
    "test_accuracy": Variable(
        (), "1", "fraction of the test images whose largest output is their class", f"{PAPER}, Fig. 6"
    ),
}


class Batches(NamedTuple):
    """Standardized images (B, d, n) and one-hot classes (B, K, n), samples in columns of B batches."""

    inputs: Array
    labels: Array


class Data(NamedTuple):
    """What all members share."""

    train: Batches
    test: Batches


FIELDS = {
    "study": choice("the figure that the runs are for", "low_rank", "angle"),
    "net.form": choice(
        "the full network, or a low-rank one in S_big or in a random subspace", "full", "s_big", "random"
    ),
    "net.inner": choice("small layers of a low-rank network: drawn, or transported as in eq. 8", *INNER),
    "net.gradient": choice("images whose first gradient gives S_big: all, or one batch", "all", "batch"),
    "net.last": choice(
        "first weights of the last layer: eps-orthogonal, or as PyTorch's Linear, U(-a, a), a = fan-in^(-1/2)",
        "orthogonal",
        "uniform",
    ),
    "net.activation": choice("activation phi", *(name for name, phi in ACTIVATIONS.items() if not phi.randomized)),
    "net.depth": integer("number of layers L", at_least=2),
    "net.rank": integer("width r of the low-rank network", at_least=2),
    "net.scale": number("scale eps of the first weights", above=0.0),
    "net.angle": number(
        "angle psi of the first bases from S_big", unit="degree", sweepable=True, at_least=0.0, at_most=90.0
    ),
    "opt.step_size": number("first step size eta on the sum loss", above=0.0),
    "data.name": choice("the images", *STANDARD),
    "data.folder": text("folder of the published files; empty: LAWLIB_DATA, then the usual places"),
    "data.average": choice("side of the squares of pixels that are averaged to one pixel", 1, 2, unit="pixel"),
    "data.num_train": integer("training images N", at_least=1),
    "data.num_test": integer("test images", at_least=1),
    "data.batch_size": integer("images processed at once; it changes results by rounding only", at_least=1),
    "data.gradient_batch": integer("images of the one batch that gives S_big", at_least=1),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once, and the images."""
    config = checks.config
    net, data, wanted = config.net, config.data, DATA_SETS[config.data.name]
    d, K = int(np.prod(wanted.shape)) // data.average**2, wanted.num_classes
    _check_study(checks)
    checks.require("net.rank", 2 * K <= net.rank <= d // 2, f"must be in {2 * K}..{d // 2}, from 2K to d/2")
    for field, given, most in zip(
        ("num_train", "num_test"), (data.num_train, data.num_test), wanted.sizes, strict=True
    ):
        checks.require(f"data.{field}", given <= most, f"must be at most {most}")
        rule = f"must be a multiple of data.batch_size = {data.batch_size}"
        checks.require(f"data.{field}", given % data.batch_size == 0, rule)
    most = data.num_train
    checks.require("data.gradient_batch", data.gradient_batch <= most, f"must be at most data.num_train = {most}")
    try:
        image_data(data.name, data.folder)
    except InputError as missing:
        checks.problems += missing.problems


def _check_study(checks: Checks) -> None:
    """Where the angle is studied it is swept, 0 included; elsewhere nothing is."""
    angles, is_angle = swept(checks.config).get("net.angle", ()), checks.config.study == "angle"
    if not is_angle:
        checks.require("sweep.net.angle", not angles, "can be swept for study = 'angle' alone; use variants")
        return
    checks.require("sweep.net.angle", 0.0 in angles, "must hold 0.0, with which other angles are compared")
    checks.require("net.form", checks.config.net.form == "s_big", "must be 's_big' where the angle is studied")


def shared(config: ConfigDict) -> Data:
    """The first images of the data set, standardized."""
    data, dtype = config.data, np.dtype(config.precision)
    found, n = image_data(data.name, data.folder), data.batch_size
    parts = ((found.train, data.num_train), (found.test, data.num_test))
    return Data(*(_batches(data, part, (count // n, n), dtype) for part, count in parts))


def _batches(data: ConfigDict, images: Images, shape: tuple[int, int], dtype: np.dtype) -> Batches:
    (mean, deviation), (B, n) = STANDARD[data.name][data.average], shape
    pixels = _averaged(images.images[: B * n], data.average).reshape(B, n, -1)
    inputs = ((pixels / 255 - mean) / deviation).astype(dtype).transpose(0, 2, 1)
    labels = np.eye(DATA_SETS[data.name].num_classes, dtype=dtype)[images.labels[: B * n].reshape(B, n)]
    return Batches(jnp.asarray(np.ascontiguousarray(inputs)), jnp.asarray(labels.transpose(0, 2, 1)))


def _averaged(images: np.ndarray, side: int) -> np.ndarray:
    """Images (N, height, width, c), each square of ``side`` x ``side`` pixels averaged to one."""
    N, height, width, channels = images.shape
    squares = images.reshape(N, height // side, side, width // side, side, channels)
    return squares.mean((2, 4)) if side > 1 else images


def sources(config: ConfigDict) -> dict[str, str]:
    """Where the images are from, in words."""
    return {config.data.name: image_data(config.data.name, config.data.folder).origin}


def dynamics(config: ConfigDict) -> Dynamics:
    """Gradient descent on all images, from the initialization that the config names."""
    phi, net = activation(config.net.activation), config.net
    predict = mlp.apply if net.form == "full" else low_rank.apply

    def descent(step_size: Array) -> Descent:
        schedule = optax.cosine_decay_schedule(1.0, config.opt.num_steps)
        return transformed(_total(predict, phi), optax.chain(optax.sgd(step_size), optax.scale_by_schedule(schedule)))

    def init(key: Array, hyperparameters: Hyperparameters, data: Data) -> tuple[Array, Iterate]:
        scale, angle, step_size = (
            value_of(config, hyperparameters, f) for f in ("net.scale", "net.angle", "opt.step_size")
        )
        weights = _start(config, key, scale, angle, data.train)
        return step_size, descent(step_size).init(weights)

    def step(_: Time, iterate: Iterate, step_size: Array, data: Data) -> Iterate:
        return descent(step_size).step(iterate, data.train)

    def observe(_: Time, iterate: Iterate, step_size: Array, data: Data) -> dict[str, Array]:
        del step_size
        train, test = (_seen(predict, phi, iterate.weights, part) for part in data)
        return {"train_loss": train[0], "test_loss": test[0], "test_accuracy": test[1]}

    return until(Dynamics(init, step, observe))


def _total(predict: Any, phi: Activation) -> Any:
    """The loss 1/2 ||f(X) - Y||_F^2, a sum over all images."""

    def loss(weights: Any, inputs: Array, labels: Array) -> Scalar:
        return sum_squared_error(predict(weights, inputs, phi), labels)

    return summed_over_batches(loss)


def _start(config: ConfigDict, key: Array, scale: Array, angle: Array, train: Batches) -> Any:
    """The full network's eps-orthogonal weights, or the low-rank network made of them and their gradient."""
    net, (_, d, _), K = config.net, train.inputs.shape, train.labels.shape[1]
    key_weights, key_inner, key_pad, key_away, key_left, key_images = jax.random.split(key, 6)
    weights = orthogonal_weights(key_weights, (*[d] * net.depth, K), scale, jnp.dtype(config.precision))
    if net.last == "uniform":
        # A key of its own: with either last layer all other draws are the same.
        last = fan_in_uniform(1 / np.sqrt(3))(jax.random.fold_in(key_weights, net.depth), (K, d), weights[0].dtype)
        weights = (*weights[:-1], last)
    if net.form == "full":
        return weights
    if net.form == "random":
        return random_init(key_inner, weights, rank=net.rank, scale=scale, inner=net.inner)
    chosen = train if net.gradient == "all" else _drawn(key_images, train, config.data.gradient_batch)
    big = big_and_small(weights[0], _first_gradient(config, weights, chosen), K).big
    basis = padded_basis(key_pad, big, net.rank)
    start = low_rank_init(key_inner, weights, basis, scale, inner=net.inner)
    radians = jnp.deg2rad(angle)
    return start._replace(right=rotate_by(key_away, basis, radians), left=rotate_by(key_left, start.left, radians))


def _drawn(key: Array, train: Batches, count: int) -> Batches:
    """``count`` different images as one batch."""
    B, _, n = train.inputs.shape
    chosen = jax.random.permutation(key, B * n)[:count]
    return jax.tree.map(lambda x: x[chosen // n, :, chosen % n].T[None], train)


def _first_gradient(config: ConfigDict, weights: Weights, images: Batches) -> Array:
    """The gradient of the loss of these images in W_1."""
    total = _total(mlp.apply, activation(config.net.activation))
    return jax.grad(lambda W_1: total((W_1, *weights[1:]), images))(weights[0])


def _seen(predict: Any, phi: Activation, weights: Any, part: Batches) -> tuple[Array, Array]:
    """The loss and the accuracy, both means over the images."""

    def of_batch(batch: Batches) -> tuple[Array, Array]:
        outputs = predict(weights, batch.inputs, phi)
        right = jnp.argmax(outputs, axis=0) == jnp.argmax(batch.labels, axis=0)
        return sum_squared_error(outputs, batch.labels), jnp.sum(right.astype(outputs.dtype))

    losses, rights = jax.lax.map(of_batch, part)
    loss = jnp.sum(losses) / _count(part)
    # Where outputs are NaN, argmax returns the first.
    return loss, jnp.where(jnp.isfinite(loss), jnp.sum(rights) / _count(part), jnp.nan)


def _count(part: Batches) -> int:
    return part.labels.shape[0] * part.labels.shape[2]
