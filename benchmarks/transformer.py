"""A small transformer for characters as a tree of kernels: causal attention and GELU after RMS norms, no biases."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.starts import Network, Params

__all__ = ["Sizes", "drawn", "forward", "layers", "loss", "network"]

PROJECTIONS = ("query", "key", "value", "output", "up", "down")


class Sizes(NamedTuple):
    """Blocks, width, heads, hidden units over width, and the longest row of characters."""

    blocks: int
    width: int
    heads: int
    expansion: int
    length: int
    characters: int


def layers(sizes: Sizes) -> tuple[str, ...]:
    """The names of the layers with adapters: six in a block."""
    return tuple(f"block_{block}_{name}" for block in range(sizes.blocks) for name in PROJECTIONS)


def drawn(key: jax.Array, sizes: Sizes) -> Params:
    """Gaussian kernels of variance 1 / inputs, smaller by sqrt(2 blocks) where a block ends, and unit scales."""
    d, hidden = sizes.width, sizes.expansion * sizes.width
    shapes = {"embedding": (sizes.characters, d), "position": (sizes.length, d), "prediction": (d, sizes.characters)}
    for name in layers(sizes):
        projection = name.rpartition("_")[2]
        shapes[name] = {"up": (d, hidden), "down": (hidden, d)}.get(projection, (d, d))
    keys = jax.random.split(key, len(shapes))
    params: dict[str, dict[str, jax.Array]] = {}
    for k, (name, shape) in zip(keys, shapes.items(), strict=True):
        inputs = d if name in ("embedding", "position") else shape[0]
        last = name.endswith(("output", "down"))
        scale = inputs**-0.5 / ((2 * sizes.blocks) ** 0.5 if last else 1.0)
        params[name] = {"kernel": scale * jax.random.normal(k, shape, jnp.float32)}
    norms = [f"block_{block}_{place}" for block in range(sizes.blocks) for place in ("before", "between")]
    return params | {name: {"scale": jnp.ones(d, jnp.float32)} for name in [*norms, "norm"]}


def forward(params: Params, tokens: jax.Array, sizes: Sizes) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logits of the next characters (N, T, characters) for rows (N, T), and the inputs of the layers with adapters."""
    inputs: dict[str, jax.Array] = {}

    def product(name: str, x: jax.Array) -> jax.Array:
        inputs[name] = x
        return x @ params[name]["kernel"]

    x = params["embedding"]["kernel"][tokens] + params["position"]["kernel"][None, : tokens.shape[1]]
    for block in range(sizes.blocks):
        own = f"block_{block}"
        h = _norm(params, f"{own}_before", x)
        query, key, value = (_heads(product(f"{own}_{name}", h), sizes.heads) for name in ("query", "key", "value"))
        mixed = _attention(query, key, value).reshape(x.shape)
        x = x + product(f"{own}_output", mixed)
        h = _norm(params, f"{own}_between", x)
        x = x + product(f"{own}_down", jax.nn.gelu(product(f"{own}_up", h)))
    return _norm(params, "norm", x) @ params["prediction"]["kernel"], inputs


def _norm(params: Params, name: str, x: jax.Array) -> jax.Array:
    root = jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
    return x / root * params[name]["scale"][None, None]


def _heads(x: jax.Array, heads: int) -> jax.Array:
    return x.reshape(*x.shape[:2], heads, -1)


def _attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Causal attention of (N, T, heads, size)."""
    size, T = query.shape[-1], query.shape[1]
    scores = jnp.einsum("nthd,nshd->nhts", query, key) / jnp.sqrt(jnp.asarray(size, query.dtype))
    seen = jnp.tril(jnp.ones((T, T), bool))[None, None]
    return jnp.einsum("nhts,nshd->nthd", jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)), value)


def loss(params: Params, rows: jax.Array, sizes: Sizes) -> jax.Array:
    """The mean cross-entropy, in nats per character, of each character of rows (N, T + 1) but the first."""
    logits, _ = forward(params, rows[:, :-1], sizes)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, rows[:, 1:]))


def network(sizes: Sizes) -> Network:
    """The network with its layers' inputs, for the starts of adapters."""
    return Network(
        lambda params, rows: loss(params, rows, sizes),
        lambda params, rows: forward(params, rows[:, :-1], sizes)[1],
        layers(sizes),
    )
