"""Where adapters can start: the methods of other papers in their minimal form, and those of lawlib.

Each method reads ``start(key, network, params, batches, rank) -> Started``. A layer is a matrix W (m, n), the transpose
of its kernel; its adapter adds left right^T, with left (m, r) and right (n, r), to a frozen matrix. Other papers
multiply the product by alpha / r or alpha / sqrt(r); this factor is 1 here, since step sizes are searched for each
method. Gradients are summed over all batches, and so are the inputs of EVA.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.compress import LowRank, adapt
from lawlib.compress.adapters import Adapter, gradient_lora, lora
from lawlib.linalg.spectra import block_krylov_svd, matrix_products
from lawlib.networks.initializers import orthogonal
from lawlib.types import Array, Bool, Float, Matrix, PRNGKey, PyTree, Scalar

__all__ = [
    "STARTS",
    "Network",
    "Started",
    "eva",
    "kernel_of",
    "lora_ga",
    "orthogonal_columns",
    "pissa",
    "s_big_of_whole_gradients",
]

Params = Mapping[str, Mapping[str, Array]]


class Network(NamedTuple):
    """A network of parameters {layer: {"kernel": (n, m), ...}}, and the layers that have adapters.

    ``loss(params, batch)`` is a mean over the batch; ``inputs(params, batch)`` are those of each layer with an adapter,
    {layer: (..., n)}.
    """

    loss: Callable[[Params, Any], Scalar]
    inputs: Callable[[Params, Any], Mapping[str, Array]]
    layers: tuple[str, ...]


class Started(NamedTuple):
    """Adapters and the parameters that they are added to, by layer; the share of layers with certified triplets."""

    adapters: dict[str, Adapter]
    params: Params
    certified: Scalar | float


def kernel_of(layer: str) -> str:
    """The name of a layer's kernel, by which ``lawlib.compress.adapt`` knows it."""
    return f"{layer}/kernel"


# One matrix. ----------------------------------------------------------------------------------------------------------


def orthogonal_columns(key: PRNGKey, shape: tuple[int, int], rank: int, dtype: Any) -> Adapter:
    """Delta = 0 with ``rank`` orthonormal columns in right, uniformly distributed: directions that know no data."""
    m, n = shape
    return Adapter(jnp.zeros((m, rank), dtype), (), orthogonal(1.0)(key, (n, rank), dtype))


def pissa(W: Matrix, rank: int) -> tuple[Adapter, Matrix]:
    """Delta is the best approximation of W of this rank, in balance, and the rest is frozen (2404.02948, eqs. 2 to 4).

    left = U_r S_r^{1/2} and right = V_r S_r^{1/2} for W = U S V^T.
    """
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    root = jnp.sqrt(s[:rank])[None]
    return _without(W, Adapter(U[:, :rank] * root, (), Vt[:rank].T * root))


def lora_ga(W: Matrix, gradient: Matrix, rank: int, gamma: float = 16.0) -> tuple[Adapter, Matrix]:
    """left = c U_{r+1..2r} and right = c V_{1..r} of the gradient, c = m^{1/4} / gamma^{1/2} (2407.05000, Theorem 3.1).

    W - left right^T is frozen, so that the network is the given one. The change by the first step of gradient descent
    is the best approximation of rank 2r of the gradient, times -c^2 and the step size, up to its square.
    """
    U, _, Vt = jnp.linalg.svd(gradient, full_matrices=False)
    c = jnp.asarray(len(W) ** 0.25 / gamma**0.5, W.dtype)
    return _without(W, Adapter(c * U[:, rank : 2 * rank], (), c * Vt[:rank].T))


def eva(gram: Float[Array, "n n"], outputs: int, rank: int) -> Adapter:
    """Delta = 0 with the leading right-singular vectors of the inputs X (N, n) in right (2410.07170, Section 3).

    ``gram`` is X^T X, the sum over all batches, whose leading eigenvectors they are. All layers have one rank, the
    paper's setting rho = 1.
    """
    vectors = jnp.linalg.eigh(gram)[1][:, ::-1]
    return Adapter(jnp.zeros((outputs, rank), gram.dtype), (), vectors[:, :rank])


def _without(W: Matrix, adapter: Adapter) -> tuple[Adapter, Matrix]:
    return adapter, W - adapter.left @ adapter.right.T


# Networks. ------------------------------------------------------------------------------------------------------------


def _drawn(draw: Callable) -> Callable[..., Started]:
    def start(key: PRNGKey, network: Network, params: Params, batches: PyTree, rank: int) -> Started:
        keys = jax.random.split(key, len(network.layers))
        kernels = {layer: params[layer]["kernel"] for layer in network.layers}
        adapters = {
            kernel_of(layer): draw(k, K.shape[::-1], rank, K.dtype)
            for k, (layer, K) in zip(keys, kernels.items(), strict=True)
        }
        return Started(adapters, params, jnp.nan)

    return start


def _pissa(key: PRNGKey, network: Network, params: Params, batches: PyTree, rank: int) -> Started:
    return _split(params, {layer: pissa(params[layer]["kernel"].T, rank) for layer in network.layers})


def _lora_ga(key: PRNGKey, network: Network, params: Params, batches: PyTree, rank: int) -> Started:
    total = _summed(jax.grad(network.loss), params, batches)
    return _split(
        params,
        {layer: lora_ga(params[layer]["kernel"].T, total[layer]["kernel"].T, rank) for layer in network.layers},
    )


def _eva(key: PRNGKey, network: Network, params: Params, batches: PyTree, rank: int) -> Started:
    def grams(params: Params, batch: Any) -> dict[str, Array]:
        inputs = network.inputs(params, batch)
        flat = {layer: inputs[layer].reshape(-1, inputs[layer].shape[-1]) for layer in network.layers}
        return {layer: X.T @ X for layer, X in flat.items()}

    total = _summed(grams, params, batches)
    adapters = {kernel_of(layer): eva(gram, params[layer]["kernel"].shape[1], rank) for layer, gram in total.items()}
    return Started(adapters, params, jnp.nan)


def _s_big(key: PRNGKey, network: Network, params: Params, batches: PyTree, rank: int) -> Started:
    adapted = adapt(network.loss, params, batches, rank=rank, layers=[kernel_of(layer) for layer in network.layers])
    found = adapted.init(key, params, batches)
    certified: list[Bool[Array, ""]] = [of.certified for of in found.gradients.values()]
    return Started(found.adapters, params, jnp.mean(jnp.stack(certified)))


def s_big_of_whole_gradients(key: PRNGKey, network: Network, params: Params, batches: PyTree, rank: int) -> Started:
    """S_big from the gradients of all kernels at once, as arrays: one pass over the data, where ``adapt`` takes four.

    For networks whose gradient fits into memory. Kernels of one shape share a program.
    """
    total = _summed(jax.grad(network.loss), params, batches)
    gradients = {layer: total[layer]["kernel"].T for layer in network.layers}
    adapters, certified = {}, []
    for place, shape in enumerate(dict.fromkeys(G.shape for G in gradients.values())):
        alike = [layer for layer, G in gradients.items() if G.shape == shape]
        keys = jax.random.split(jax.random.fold_in(key, place), len(alike))
        stacked = jnp.stack([gradients[layer] for layer in alike])
        found = jax.vmap(lambda k, G: block_krylov_svd(k, matrix_products(G), rank, tolerance=0.1))(keys, stacked)
        for at, layer in enumerate(alike):
            adapters[kernel_of(layer)] = gradient_lora(LowRank(*(x[at] for x in found.svd)))
        certified.append(found.certified)
    return Started(adapters, params, jnp.mean(jnp.concatenate(certified)))


def _summed(function: Callable, params: Params, batches: PyTree) -> Any:
    """The sum of function(params, batch) over the batches, one at a time."""
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, params, jax.tree.map(lambda x: x[0], batches))
    )
    return lax.scan(lambda s, batch: (jax.tree.map(jnp.add, s, function(params, batch)), None), zeros, batches)[0]


def _split(params: Params, parts: Mapping[str, tuple[Adapter, Matrix]]) -> Started:
    """Adapters, and parameters with what is frozen in the kernels."""
    frozen = {layer: {**params[layer], "kernel": rest.T} for layer, (_, rest) in parts.items()}
    adapters = {kernel_of(layer): adapter for layer, (adapter, _) in parts.items()}
    return Started(adapters, {**params, **frozen}, jnp.nan)


STARTS: dict[str, Callable[..., Started]] = {
    "LoRA": _drawn(lora),
    "orthogonal": _drawn(orthogonal_columns),
    "EVA": _eva,
    "PiSSA": _pissa,
    "LoRA-GA": _lora_ga,
    "S_big": _s_big,
}
