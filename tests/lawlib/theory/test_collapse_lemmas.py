"""The lemmas behind Theorem 2 of Yaras et al. 2023, on global optima that use up its hypotheses (22) to (24).

The optima are made from their singular value decompositions in numpy: layers 1 to L-1 are balanced, and the last one
solves W_{L:1} X = Y. Their leading singular values and subspaces are off by as much as (23) allows.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawlib.networks.activations import LINEAR
from lawlib.networks.mlp import hidden_features
from lawlib.theory import collapse

norm = np.linalg.norm


class Optimum(NamedTuple):
    """Weights with W_l = U_l Sigma V_l^T, V_{l+1} = U_l for l < L, and delta = eps^2 sqrt(d - K) of eq. (27)."""

    weights: list[np.ndarray]
    frames: list[np.ndarray]  # V_1, U_1, ..., U_{L-1}
    values: np.ndarray
    X: np.ndarray
    Y: np.ndarray
    K: int
    n: int
    depth: int
    eps: float

    @property
    def delta(self):
        return self.eps**2 * np.sqrt(len(self.X) - self.K)

    @property
    def outside(self):
        """delta / (sqrt(2) sigma_min(W_L U_{L-1,1})) >= ||W_L U_{L-1,2}||_F: (23) bounds the product of the two."""
        inside = self.weights[-1] @ self.frames[-1][:, : self.K]
        return self.delta / (np.sqrt(2) * np.linalg.svd(inside, compute_uv=False)[-1])

    @property
    def overlap(self):
        """2 sqrt(delta) K^{1/4} / n^{1/2L}, the bound of (32)."""
        return 2 * np.sqrt(self.delta) * self.K**0.25 / self.n ** (1 / (2 * self.depth))


def haar(rng, d):
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return Q * np.sign(np.diag(R))


def optimum(seed, *, K=3, n=4, depth=3, share=0.99, fill=0.9):
    """An optimum with eps = share eps_max, whose K values apart from A have sum of sigma^4 = fill K eps^4."""
    rng, d = np.random.default_rng(seed), n * K
    eps = share * collapse.largest_scale(width=d, samples_per_class=n, num_classes=K, depth=depth)
    X, Y = haar(rng, d), np.kron(np.eye(K), np.ones((1, n)))
    shape, balance = rng.uniform(-1, 1, K), n ** (1 / (2 * depth))
    # The values and the turn are off by amounts that unbalance the last layer about equally.
    turn = rng.standard_normal((d, d)) / (2**depth * np.sqrt(n))
    others = np.full(K, 0.5)
    others[0] = (fill * K - (K - 1) * 0.5**4) ** 0.25
    frames = [haar(rng, d) for _ in range(depth)]
    V = X @ Y.T / np.sqrt(n)
    complement = np.linalg.svd(V)[0][:, K:]
    aligned = np.hstack([V @ haar(rng, K), complement])

    def made(off):
        values = np.concatenate([balance * (1 + off * shape), eps * others, np.full(d - 2 * K, eps)])
        # A turn by more than eps^{L-1} would make the last layer large.
        first = np.linalg.qr(aligned + off * eps ** (depth - 1) * aligned @ turn)[0]
        chain = [first, *frames[1:]]
        weights = [U * values @ W.T for W, U in itertools.pairwise(chain)]
        last = np.sqrt(n) * (V.T @ first / values ** (depth - 1)) @ chain[-1].T
        return Optimum([*weights, last], chain, values, X, Y, K, n, depth, eps)

    low, high = 0.0, 0.5
    for _ in range(40):
        off = (low + high) / 2
        made_now = made(off)
        low, high = (off, high) if imbalance(made_now) <= made_now.delta else (low, off)
    return made(low)


def imbalance(o):
    """||W_L^T W_L - W_{L-1} W_{L-1}^T||_F."""
    before, last = o.weights[-2:]
    return norm(last.T @ last - before @ before.T)


def splits(W, K):
    """U, sigma and V of a layer by numpy, the columns of U and V before and after the K-th."""
    U, s, Vt = np.linalg.svd(W)
    return (U[:, :K], U[:, K:]), s, (Vt[:K].T, Vt[K:].T)


SETTINGS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "K": st.integers(2, 4),
        "n": st.integers(3, 6),
        "depth": st.integers(2, 4),
        "share": st.floats(0.3, 1.0),
        "fill": st.floats(0.3, 0.999),
    }
)


@given(settings=SETTINGS)
def test_the_optima_have_the_hypotheses_and_use_them_up(settings):
    """Eqs. (22), (23), (24), and (27), which (28) gives with sqrt(30) L: as printed, sqrt(30 L), it does not."""
    o = optimum(**settings)
    np.testing.assert_allclose(np.linalg.multi_dot(o.weights[::-1]) @ o.X, o.Y, atol=1e-8)
    *hidden, last = np.asarray(collapse.imbalance(tuple(map(jnp.asarray, o.weights))))
    np.testing.assert_allclose(hidden, 0, atol=1e-13)
    assert 0.999 * o.delta < last <= (1 + 1e-9) * o.delta
    assert np.sum(np.abs(o.values - o.eps) < 1e-12) == len(o.X) - 2 * o.K
    # Equal but for rounding at the largest eps, share = 1.
    assert o.delta <= (1 + 1e-12) * o.n ** (1 / o.depth) / (30 * o.depth**2)
    printed = o.n ** (1 / (2 * o.depth)) / (np.sqrt(30 * o.depth) * (len(o.X) - o.K) ** 0.25)
    assert printed**2 * np.sqrt(len(o.X) - o.K) > 1.9 * o.n ** (1 / o.depth) / (30 * o.depth**2)


@given(settings=SETTINGS)
def test_lemma_3(settings):
    """Eq. (29): (n/2)^{1/2L} <= sigma_K(W_l) <= sigma_1(W_l) <= (2n)^{1/2L} for all l."""
    o = optimum(**settings)
    for W in o.weights:
        s = np.linalg.svd(W, compute_uv=False)
        assert (o.n / 2) ** (1 / (2 * o.depth)) <= s[o.K - 1] <= s[0] <= (2 * o.n) ** (1 / (2 * o.depth))
        if W is not o.weights[-1]:  # as in the proof
            assert s[o.K - 1] >= (o.n * (1 - 1 / (15 * o.depth**2))) ** (1 / (2 * o.depth))
    assert abs(s[0] / o.n ** (1 / (2 * o.depth)) - 1) > 1e-9  # n^{1/2L} itself is no bound


@given(settings=SETTINGS)
def test_lemma_4_on_the_layers_below_the_last(settings):
    """Eq. (31): Sigma_{l+1} = Sigma_l, ||Sigma_{l,2}^2||_F <= delta, V_{l+1}^T U_l = I.

    It prints the first for l <= L-1; Sigma_L is zero where Sigma_{L-1} has eps. The third holds for a suitable choice
    of the decomposition alone: with the repeated value eps, numpy's own gives a matrix that commutes with Sigma.
    """
    o = optimum(**settings)
    layers = [splits(W, o.K) for W in o.weights]
    for (U, s, _), (_, following, V) in itertools.pairwise(layers[:-1]):
        np.testing.assert_allclose(following, s, atol=1e-12)
        between = np.hstack(V).T @ np.hstack(U)
        np.testing.assert_allclose(between * s**2, s[:, None] ** 2 * between, atol=1e-11)
        assert norm(between - np.eye(len(s))) > 0.1
    for _, s, _ in layers[:-1]:
        assert 0.5 * o.delta < norm(s[o.K :] ** 2) <= (1 + 1e-9) * o.delta
    last = np.pad(layers[-1][1], (0, len(o.X) - o.K))
    assert np.abs(last - layers[-2][1]).max() > 0.99 * o.eps


@given(settings=SETTINGS)
def test_lemma_4_on_the_last_layer(settings):
    """Eq. (32): ||V_{L,1}^T U_{L-1,2}||_F <= x and sigma_min(V_{L,1}^T U_{L-1,1}) >= 1 - x, x = ``overlap``.

    The last line of the proof prints 1 - 4 delta sqrt(K) / n^{1/2L}; the step gives the sharper 1 - x^2, with n^{1/L}.
    The overlap is in fact linear in delta, where (32) has its root.
    """
    o = optimum(**settings)
    (inside, outside), *_ = splits(o.weights[-2], o.K)
    _, s, (V, _) = splits(o.weights[-1], o.K)
    assert 1e-12 < norm(V.T @ outside) <= o.outside / s[-1] <= o.overlap
    assert norm(o.weights[-1] @ outside) <= np.sqrt(2 * o.delta) * o.K**0.25  # eq. (35)
    least = np.linalg.svd(V.T @ inside, compute_uv=False)[-1]
    assert least >= 1 - o.overlap**2 - 1e-14 >= 1 - o.overlap


@given(settings=SETTINGS)
def test_the_other_singular_values_are_small(settings):
    """Eq. (41): sigma_i <= K^{1/4} eps for i > K."""
    o = optimum(**settings)
    for W in o.weights[:-1]:
        assert np.linalg.svd(W, compute_uv=False)[o.K] <= o.K**0.25 * o.eps * (1 + 1e-12)


def test_the_bound_on_the_other_singular_values_is_attained():
    o = optimum(0, K=4, fill=0.9999)
    assert np.linalg.svd(o.weights[0], compute_uv=False)[o.K] > 0.98 * o.K**0.25 * o.eps


def scatter(o):
    """Delta_W and Delta_B of eqs. (37) and (38)."""
    means = o.X @ o.Y.T / o.n
    return o.X - means @ o.Y, means - means.mean(1, keepdims=True)


@given(settings=SETTINGS)
def test_the_scatter_within_classes_leaves_the_leading_directions(settings):
    """Eq. (47): ||S_1^{l+1} V_{1,1}^T D_W||_F <= kappa_1 eps^{L-l} ||S_2^l V_{1,2}^T D_W||_F, l <= L-2; (44) likewise.

    With the sharper form of (35) it has one power of eps more.
    """
    o = optimum(**settings)
    within, _ = scatter(o)
    L, K, d = o.depth, o.K, len(o.X)
    first = np.split(o.frames[0].T @ within, [K])
    top, tail = np.split(o.values, [K])
    norms = [[norm(s[:, None] ** l * block) for l in range(L)] for s, block in zip((top, tail), first, strict=True)]
    inside = o.weights[-1] @ o.frames[-1][:, :K]
    for l in range(1, L - 1):
        kappa = 4 * np.sqrt(2) * K ** ((L - l) / 4) * (d - K) ** 0.25 / (o.n / 2) ** ((L - l - 1) / (2 * L))
        least = np.linalg.svd(inside, compute_uv=False)[-1] * top.min() ** (L - 2 - l)
        sharper = o.outside * (K**0.25 * o.eps) ** (L - 1 - l) / least
        assert 0 < norms[0][l + 1] <= sharper * norms[1][l] <= kappa * o.eps ** (L - l) * norms[1][l]
    for l in range(1, L):
        bound = 2 * np.sqrt(2) * K ** ((L - l) / 4) * (d - K) ** 0.25 * o.eps ** (L - l) * norms[1][l]
        assert norm(inside * top ** (L - 1) @ first[0]) <= bound


@given(settings=SETTINGS)
def test_the_leading_inputs_are_the_class_means(settings):
    """Eq. (52): ||V V^T - V_{1,1} V_{1,1}^T||_F <= 1/2 with V = X Y^T / sqrt(n), and eq. (49), which follows.

    V^T V_{1,2} = W_L U_{L-1,2} Sigma_2^{L-1} / sqrt(n), so that (41) and the sharper form of (35) give much less.
    """
    o = optimum(**settings)
    _, between = scatter(o)
    V, (*_, (inside, outside)) = o.X @ o.Y.T / np.sqrt(o.n), splits(o.weights[0], o.K)
    apart = norm(V @ V.T - inside @ inside.T)
    sharper = np.sqrt(2 / o.n) * o.outside * (o.K**0.25 * o.eps) ** (o.depth - 1)
    assert 1e-13 < apart <= sharper <= 0.5
    assert norm(outside.T @ between) <= norm(inside.T @ between)


@given(settings=SETTINGS)
def test_theorem_2_at_the_edge_of_its_hypotheses(settings):
    """Eq. (15), by way of (48), in which the proof prints kappa_1 eps^{L-l} without its square."""
    o = optimum(**settings)
    features = hidden_features(tuple(map(jnp.asarray, o.weights)), jnp.asarray(o.X), LINEAR)
    found = np.asarray([collapse.separation(Z, jnp.asarray(o.Y)) for Z in features])
    assert np.all(found[1:] / found[:-1] <= collapse.ratio_bound(scale=o.eps, num_classes=o.K))


@pytest.mark.parametrize(("depth", "most"), [(2, 56), (3, 284)])
def test_the_proof_of_theorem_2_ends_at_some_number_of_classes(depth, most):
    """Eq. (45) takes (32) to be at least 1/2, which (28) gives for K <= (30 L^2 / 16)^2 alone."""
    for K, holds in ((most, True), (most + 1, False)):
        n = 10
        eps = collapse.largest_scale(width=n * K, samples_per_class=n, num_classes=K, depth=depth)
        x = 2 * eps * (n * K - K) ** 0.25 * K**0.25 / n ** (1 / (2 * depth))
        assert (1 - x >= 0.5) == holds


@given(size=st.tuples(st.integers(1, 8), st.integers(1, 8)), rank=st.integers(0, 8), seed=st.integers(0, 2**31))
def test_lemma_5(size, rank, seed):
    """Eq. (53): ||A^T A||_F <= ||A||_F^2 <= sqrt(r) ||A^T A||_F, r the rank; equal for r <= 1, and for equal values."""
    (m, n), rng = size, np.random.default_rng(seed)
    r = min(rank, m, n)
    U, V = haar(rng, m)[:, :r], haar(rng, n)[:, :r]
    A = U * rng.uniform(0.1, 2, r) @ V.T
    gram, square = norm(A.T @ A), norm(A) ** 2
    assert gram <= square * (1 + 1e-12)
    assert square <= np.sqrt(r) * gram * (1 + 1e-12)
    assert (square <= gram * (1 + 1e-9)) == (r <= 1)
    np.testing.assert_allclose(norm(U @ V.T) ** 2, np.sqrt(r) * norm(V @ U.T @ U @ V.T), atol=1e-12)
