"""One small network as a plain tree, in Flax linen, in Flax NNX and in Equinox, with the same weights and data.

A convolution, attention with one projection to all heads and one back, and two dense layers. Each way has a loss, its
parameters, and for each layer how its kernel is picked and read as a matrix (inputs, outputs).
"""

from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lawlib.frameworks.nnx import functional, holds_modules
from lawlib.linalg.leaves import pick
from lawlib.linalg.matricization import Matricization

SIDE, COLORS, WIDTH, HEADS, HEAD, HIDDEN, CLASSES = 3, 2, 6, 2, 3, 7, 4
BATCHES, SAMPLES = 2, 5

SHAPES = {
    "conv": (2, 2, COLORS, WIDTH),
    "query": (WIDTH, HEADS, HEAD),
    "out": (HEADS, HEAD, WIDTH),
    "hidden": (WIDTH, HIDDEN),
    "last": (HIDDEN, CLASSES),
}
READ = {"conv": Matricization((0, 1, 2), 3), "query": Matricization(0, (1, 2)), "out": Matricization((0, 1), 2)}


class Way(NamedTuple):
    """A loss(params, batch), its parameters, and a function and a matricization (or None) for each layer."""

    loss: Any
    params: Any
    layers: dict


def kernels(dtype):
    rng = np.random.default_rng(0)
    return {name: jnp.asarray(rng.standard_normal(shape) / 2, dtype) for name, shape in SHAPES.items()}


def batches(dtype):
    rng = np.random.default_rng(1)
    images = jnp.asarray(rng.standard_normal((BATCHES, SAMPLES, SIDE, SIDE, COLORS)), dtype)
    return images, jnp.asarray(rng.standard_normal((BATCHES, SAMPLES, CLASSES)), dtype)


def attended(heads):
    """What attention makes of its heads (..., tokens, heads, head), each of which is query, key and value at once."""
    scores = jax.nn.softmax(jnp.einsum("...shk,...thk->...hst", heads, heads))
    return jnp.einsum("...hst,...thk->...shk", scores, heads)


def kernel_of(params, where):
    """The array that a layer has in a tree or in a model."""
    if holds_modules(params):
        _, params, where = functional(lambda *_: 0.0, params, where)
    return pick(params, where).value


def squared(outputs, targets):
    return jnp.sum((outputs - targets) ** 2) / 2


def plain(dtype):
    def loss(params, batch):
        x = jax.lax.conv_general_dilated(
            batch[0], params["conv"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        heads = jnp.einsum("nsd,dhk->nshk", params["phi"](x).reshape(SAMPLES, -1, WIDTH), params["query"])
        x = jnp.mean(jnp.einsum("nshk,hkd->nsd", attended(heads), params["out"]), axis=1)
        return squared(params["phi"](x @ params["hidden"]) @ params["last"], batch[1])

    layers = {name: (lambda params, name=name: params[name], READ.get(name)) for name in SHAPES}
    return Way(loss, kernels(dtype) | {"phi": jnp.tanh, "name": "plain"}, layers)


class Linen(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x):
        kinds = {"use_bias": False, "param_dtype": self.dtype}
        x = jnp.tanh(nn.Conv(WIDTH, (2, 2), padding="VALID", name="conv", **kinds)(x)).reshape(SAMPLES, -1, WIDTH)
        heads = nn.DenseGeneral((HEADS, HEAD), name="query", **kinds)(x)
        x = nn.DenseGeneral(WIDTH, axis=(-2, -1), name="out", **kinds)(attended(heads))
        x = jnp.tanh(nn.Dense(HIDDEN, name="hidden", **kinds)(jnp.mean(x, axis=1)))
        return nn.Dense(CLASSES, name="last", **kinds)(x)


def linen(dtype):
    network = Linen(dtype)
    variables = {"params": {name: {"kernel": kernel} for name, kernel in kernels(dtype).items()}}
    layers = {name: (f"params/{name}/kernel", READ.get(name)) for name in SHAPES}
    return Way(lambda held, batch: squared(network.apply(held, batch[0]), batch[1]), variables, layers)


class NNX(nnx.Module):
    def __init__(self, dtype):
        kinds = {"use_bias": False, "param_dtype": dtype, "rngs": nnx.Rngs(0)}
        self.conv = nnx.Conv(COLORS, WIDTH, (2, 2), padding="VALID", **kinds)
        self.query = nnx.LinearGeneral(WIDTH, (HEADS, HEAD), **kinds)
        self.out = nnx.LinearGeneral((HEADS, HEAD), WIDTH, axis=(-2, -1), **kinds)
        self.hidden, self.last = nnx.Linear(WIDTH, HIDDEN, **kinds), nnx.Linear(HIDDEN, CLASSES, **kinds)

    def __call__(self, x):
        x = self.query(jnp.tanh(self.conv(x)).reshape(SAMPLES, -1, WIDTH))
        return self.last(jnp.tanh(self.hidden(jnp.mean(self.out(attended(x)), axis=1))))


def in_nnx(dtype):
    model = NNX(dtype)
    for name, kernel in kernels(dtype).items():
        getattr(model, name).kernel[...] = kernel
    layers = {name: (lambda model, name=name: getattr(model, name).kernel, READ.get(name)) for name in SHAPES}
    return Way(lambda model, batch: squared(model(batch[0]), batch[1]), model, layers)


class Equinox(eqx.Module):
    conv: eqx.nn.Conv2d
    query: eqx.nn.Linear
    out: eqx.nn.Linear
    hidden: eqx.nn.Linear
    last: eqx.nn.Linear
    phi: Any

    def __init__(self, dtype):
        kinds = {"use_bias": False, "dtype": dtype, "key": jax.random.key(0)}
        self.conv = eqx.nn.Conv2d(COLORS, WIDTH, 2, **kinds)
        sizes = {"query": (WIDTH, WIDTH), "out": (WIDTH, WIDTH), "hidden": (WIDTH, HIDDEN), "last": (HIDDEN, CLASSES)}
        for name, (inputs, outputs) in sizes.items():
            setattr(self, name, eqx.nn.Linear(inputs, outputs, **kinds))
        self.phi = jnp.tanh

    def __call__(self, image):
        x = self.phi(self.conv(jnp.moveaxis(image, -1, 0))).reshape(WIDTH, -1).T
        heads = attended(jax.vmap(self.query)(x).reshape(-1, HEADS, HEAD))
        x = jnp.mean(jax.vmap(self.out)(heads.reshape(-1, WIDTH)), axis=0)
        return self.last(self.phi(self.hidden(x)))


def in_equinox(dtype):
    """Its kernels are stored as (outputs, inputs, ...)."""
    read = {name: Matricization(1, 0) for name in SHAPES} | {"conv": Matricization((2, 3, 1), 0)}
    model = Equinox(dtype)
    for name, kernel in kernels(dtype).items():
        matrix = READ.get(name, Matricization()).matrix(kernel)
        pick = lambda model, name=name: getattr(model, name).weight  # noqa: E731
        model = eqx.tree_at(pick, model, read[name].leaf(matrix, pick(model)))
    layers = {name: (lambda model, name=name: getattr(model, name).weight, read[name]) for name in SHAPES}
    return Way(lambda model, batch: squared(jax.vmap(model)(batch[0]), batch[1]), model, layers)


WAYS = {"plain": plain, "linen": linen, "nnx": in_nnx, "equinox": in_equinox}
