"""The recursions of the idle values, for networks of any size, seed and rates, against whole networks under optax."""

import functools as ft
from typing import NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st
from optax import contrib

from lawlib.descent.preconditioners import shampoo
from lawlib.descent.steps import transformed
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import low_rank_target
from lawlib.theory.equivariance import idle_gradients, newton_schulz
from lawlib.theory.parsimony import block_decomposition, invariant_frames

SCALE, STEPS = 0.7, 4


class Sizes(NamedTuple):
    depth: int
    width: int
    rank: int
    case: int


class Rates(NamedTuple):
    """Step size, momentum, weight decay, the norm of clipping, and the start of Shampoo's sums."""

    eta: float
    mu: float
    decay: float
    clip: float
    start: float


SIZES = [Sizes(2, 7, 1, 1), Sizes(3, 9, 2, 2), Sizes(4, 8, 1, 1)]
RATES = st.builds(
    Rates,
    eta=st.floats(1e-3, 0.02),
    mu=st.floats(0.0, 0.95),
    decay=st.floats(0.0, 1.0),
    clip=st.floats(0.1, 2.0),
    start=st.floats(0.1, 1.0),
)


def heavy(v, g, to):
    return to.mu * v + g


def by_descent(t, g, rho, norms, memory, to):
    return -to.eta * to.decay * rho - to.eta * g


def by_coupled(t, g, rho, norms, memory, to):
    memory["v"] = heavy(memory.get("v", 0), g + to.decay * rho, to)
    return -to.eta * memory["v"]


def by_decoupled(t, g, rho, norms, memory, to):
    memory["v"] = heavy(memory.get("v", 0), g, to)
    return -to.eta * (memory["v"] + to.decay * rho)


def by_heavy_ball(t, g, rho, norms, memory, to):
    memory["v"] = heavy(memory.get("v", 0), g, to)
    return -to.eta * memory["v"]


def by_nesterov(t, g, rho, norms, memory, to):
    memory["v"] = heavy(memory.get("v", 0), g, to)
    return -to.eta * (g + to.mu * memory["v"])


def by_clipping(t, g, rho, norms, memory, to):
    return -to.eta * g * min(1, to.clip / np.linalg.norm(norms(0.0)))


def by_muon(t, g, rho, norms, memory, to):
    memory["v"] = to.mu * memory.get("v", 0) + (1 - to.mu) * g
    # The factor 1 / (1 - mu^t) of the mean cancels in v / ||V||, but for Newton-Schulz's epsilon.
    unbiased = 1 - to.mu ** (t + 1)
    # In Case 2 the last layer has a norm, but no idle value.
    norm = norms(to.mu)[: len(rho)] * (1 - to.mu) / unbiased
    return -to.eta * np.asarray(newton_schulz(jnp.asarray(memory["v"] / unbiased), norm=jnp.asarray(norm)))


def by_shampoo(t, g, rho, norms, memory, to):
    memory["a"] = memory.get("a", to.start) + g**2
    return -to.eta * g * memory["a"] ** -0.5


# The optimizer, and its recursion rho(t+1) - rho(t).
MEMBERS = {
    "gradient descent": (lambda to: optax.chain(optax.add_decayed_weights(to.decay), optax.scale(-to.eta)), by_descent),
    "coupled decay": (
        lambda to: optax.chain(optax.add_decayed_weights(to.decay), optax.trace(to.mu), optax.scale(-to.eta)),
        by_coupled,
    ),
    "decoupled decay": (
        lambda to: optax.chain(optax.trace(to.mu), optax.add_decayed_weights(to.decay), optax.scale(-to.eta)),
        by_decoupled,
    ),
    "heavy ball": (lambda to: optax.sgd(to.eta, to.mu), by_heavy_ball),
    "nesterov": (lambda to: optax.sgd(to.eta, to.mu, nesterov=True), by_nesterov),
    "clipping": (lambda to: optax.chain(optax.clip_by_global_norm(to.clip), optax.sgd(to.eta)), by_clipping),
    "muon": (
        lambda to: contrib.muon(
            to.eta,
            beta=to.mu,
            nesterov=False,
            adaptive=False,
            muon_weight_dimension_numbers=contrib.MuonDimensionNumbers(1, 0),
        ),
        by_muon,
    ),
    "shampoo": (lambda to: shampoo(to.eta, start=to.start), by_shampoo),
}


def loss(weights, target):
    return jnp.sum(jnp.square(end_to_end(weights) - target)) / 2


@ft.partial(jax.jit, static_argnums=0)
def problem(sizes, key):
    """W(0), the target and the frames of the theorem."""
    key_target, key_weights = jax.random.split(key)
    outputs = sizes.width if sizes.case == 1 else sizes.rank
    target = low_rank_target(key_target, (sizes.width, sizes.width), sizes.rank, jnp.float64)[:outputs] / 4
    weights = orthogonal_weights(key_weights, (*[sizes.width] * sizes.depth, outputs), SCALE, jnp.float64)
    return weights, target, invariant_frames(weights, target, sizes.rank)


@ft.partial(jax.jit, static_argnums=0)
def history(name, weights, target, frames, rates):
    """The idle block and the gradient of each layer before each step, and the idle blocks at the end."""
    descent = transformed(loss, MEMBERS[name][0](rates))

    def idle(weights):
        layers = zip(weights, frames[1:], frames[:-1], strict=False)
        return [block_decomposition(W, left, right).idle for W, left, right in layers]

    def body(at, _):
        return descent.step(at, target), (idle(at.weights), jax.grad(loss)(at.weights, target))

    end, (blocks, gradients) = jax.lax.scan(body, descent.init(weights), length=STEPS)
    return jax.tree.map(lambda every, last: jnp.concatenate([every, last[None]]), blocks, idle(end.weights)), gradients


def norms_at(gradients, t):
    """By mu, the norms of sum_s mu^(t-s) G_l(s)."""

    def norms(mu):
        sums = (sum(mu ** (t - s) * G[s] for s in range(t + 1)) for G in gradients)
        return np.array([np.linalg.norm(total) for total in sums])

    return norms


@pytest.mark.parametrize("name", MEMBERS)
@hypothesis.settings(max_examples=10)
@hypothesis.given(sizes=st.sampled_from(SIZES), seed=st.integers(0, 2**31 - 1), rates=RATES)
def test_the_idle_values_follow_the_recursion(name, sizes, seed, rates):
    weights, target, frames = problem(sizes, jax.random.key(seed))
    blocks, gradients = jax.tree.map(np.asarray, history(name, weights, target, frames, rates))
    m = sizes.width - 2 * sizes.rank
    rho = np.stack([np.trace(block, axis1=1, axis2=2) / m for block in blocks], axis=1)
    for block, values in zip(blocks, rho.T, strict=True):
        np.testing.assert_allclose(block, values[:, None, None] * np.eye(m), atol=1e-11)
    memory = {}
    for t in range(STEPS):
        g = np.asarray(idle_gradients(jnp.asarray(rho[t]))) if sizes.case == 1 else np.zeros_like(rho[t])
        change = MEMBERS[name][1](t, g, rho[t], norms_at(gradients, t), memory, rates)
        np.testing.assert_allclose(rho[t + 1], rho[t] + change, atol=1e-11)
    if sizes.case == 1:
        assert np.abs(rho[-1] - rho[0]).min() > 1e-6
