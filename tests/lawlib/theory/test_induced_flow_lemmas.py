"""The landscape of linear networks and of PCA behind Theorem 8 of Eftekhari 2020: Theorem 7, Lemmas 4 to 6, 12 and 21.

PCA is the problem min 1/2 ||A - P Q||_F^2 over P (d_y, r) and Q (r, m), with A = Y P_X, the outputs in the row span of
X. Its stationary points are made from singular pairs of A, or found from random starts; gradients and Hessians of PCA
are those of numpy, those of the network are lawlib's. X may be any matrix: it is not whitened here.
"""

import functools as ft
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from lawlib.linalg.curvature import hessian_product
from lawlib.networks.deep_linear import end_to_end, imbalances
from lawlib.networks.initializers import balanced_factorization
from lawlib.theory import induced_flow as flow

norm = np.linalg.norm
pinv = ft.partial(np.linalg.pinv, rcond=1e-12)
seeds = st.integers(0, 2**31)


def haar(rng, d):
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return Q * np.sign(np.diag(R))


def with_values(rng, shape, values):
    """A matrix of this shape with these singular values, and its singular vectors as columns, all of them."""
    U, V = (haar(rng, d) for d in shape)
    k = len(values)
    return (U[:, :k] * np.asarray(values)) @ V[:, :k].T, U, V


def rank(W):
    return np.linalg.matrix_rank(W, tol=1e-9)


def subsets(k, sizes):
    return [list(S) for size in sizes for S in itertools.combinations(range(k), size)]


# PCA -----------------------------------------------------------------------------------------------------------------


class Pca(NamedTuple):
    """A point (P, Q) of PCA of A."""

    A: np.ndarray
    P: np.ndarray
    Q: np.ndarray

    @property
    def error(self):
        return self.A - self.P @ self.Q

    @property
    def excess(self):
        """The loss above its minimum, 1/2 sum_{i > r} s_i^2 by the theorem of Eckart, Young and Mirsky."""
        s = np.linalg.svd(self.A, compute_uv=False)
        return (norm(self.error) ** 2 - np.sum(s[self.P.shape[1] :] ** 2)) / 2

    @property
    def gradient(self):
        """Eqs. (70) and (72), the negative of both sides."""
        return -self.error @ self.Q.T, -self.P.T @ self.error

    def curvature(self, D_P, D_Q):
        """Twice (76), which is the second-order term of the loss."""
        return norm(D_P @ self.Q + self.P @ D_Q) ** 2 - 2 * np.sum(self.error * (D_P @ D_Q))

    @property
    def hessian(self):
        """Of the entries of Q, then those of P."""
        size = self.Q.size
        basis = np.eye(size + self.P.size)
        D_Q, D_P = basis[:, :size].reshape(-1, *self.Q.shape), basis[:, size:].reshape(-1, *self.P.shape)
        moved = (D_P @ self.Q + self.P @ D_Q).reshape(len(basis), -1)
        crossed = np.einsum("ab,iac,jcb->ij", self.error, D_P, D_Q, optimize=True)
        return moved @ moved.T - crossed - crossed.T

    @property
    def least(self):
        return np.linalg.eigvalsh(self.hessian)[0]


def balanced_point(A, U, V, values, S, r):
    """U_S Sigma_S V_S^T in balanced factors, and zeros where S has fewer than r pairs."""
    root = np.sqrt(np.asarray(values)[S])
    P, Q = np.zeros((len(U), r)), np.zeros((r, len(V)))
    P[:, : len(S)], Q[: len(S)] = U[:, S] * root, root[:, None] * V[:, S].T
    return Pca(A, P, Q)


VALUES = ((2.0, 1.0, 1 - 1e-6, 0.3), (2.0, 1.0, 1.0, 0.3), (3.0, 1.0, 0.4), (1.0,))


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("r", [1, 2, 3])
def test_the_least_curvature_of_a_balanced_stationary_point_is_the_gap_of_its_values(values, r):
    """Theorem 7 and Lemma 21: it is s_i - s_j for the least value i that is kept and the largest j that is not."""
    A, U, V = with_values(np.random.default_rng(r), (4, 5), values)
    for S in subsets(len(values), range(min(r, len(values)) + 1)):
        point = balanced_point(A, U, V, values, S, r)
        assert max(map(norm, point.gradient)) < 1e-13
        kept = min(values[i] for i in S) if len(S) == r else 0.0
        left = max((s for i, s in enumerate(values) if i not in S), default=0.0)
        assert point.least == pytest.approx(min(0.0, kept - left), abs=1e-12)


def test_the_hessian_of_two_layers_is_that_of_pca():
    rng = np.random.default_rng(0)
    A, P, Q = (rng.standard_normal(shape) for shape in ((4, 5), (4, 2), (2, 5)))
    point = Pca(A, P, Q)
    np.testing.assert_allclose(network_hessian((Q, P), np.eye(5), A), point.hessian, atol=1e-12)
    gradient = network_gradient((Q, P), np.eye(5), A)
    np.testing.assert_allclose(gradient[1], point.gradient[0], atol=1e-12)
    np.testing.assert_allclose(gradient[0], point.gradient[1], atol=1e-12)


def stationary_point(rng, values, S, r, beside):
    """Any stationary point with product U_S Sigma_S V_S^T: P and Q have directions beside it that do not meet.

    ``beside`` is how many of the r - |S| columns are in P; the other rows are in Q.
    """
    A, U, V = with_values(rng, (4, 5), values)
    k, null = len(S), range(len(values), 4)
    B = U[:, [*S, *null]] @ rng.standard_normal((k + len(null), beside))
    D = rng.standard_normal((r - k - beside, k + 5 - len(values))) @ V[:, [*S, *range(len(values), 5)]].T
    P = np.hstack([U[:, S], B, np.zeros((4, r - k - beside))])
    Q = np.vstack([np.asarray(values)[S][:, None] * V[:, S].T, np.zeros((beside, 5)), D])
    C = haar(rng, r) * rng.uniform(0.5, 2, r) @ haar(rng, r)
    return Pca(A, P @ C, np.linalg.solve(C, Q))


@given(seed=seeds, values=st.sampled_from([(2.0, 1.0, 0.9), (2.0, 2.0, 0.9), (1.5, 1.0)]), r=st.sampled_from([1, 2, 3]))
def test_theorem_7_at_every_kind_of_stationary_point(seed, values, r):
    """One without negative curvature is global. Lemma 21: it has rank r if A has, and P and Q have it too."""
    rng = np.random.default_rng(seed)
    for S in subsets(len(values), range(min(r, len(values)) + 1)):
        for beside in range(r - len(S) + 1):
            point = stationary_point(rng, values, S, r, beside)
            assert max(map(norm, point.gradient)) < 1e-11
            is_global = point.excess < 1e-9
            assert (point.least > -1e-9) == is_global
            assert is_global or point.least < -1e-3
            if is_global and len(values) >= r:
                assert rank(point.P) == rank(point.Q) == rank(point.P @ point.Q) == r


def found_point(rng, A, r):
    """A stationary point near a random start, by Newton's method on the gradient."""
    d_y, m = A.shape

    def at(x):
        return Pca(A, x[r * m :].reshape(d_y, r), x[: r * m].reshape(r, m))

    def gradient(x):
        to_P, to_Q = at(x).gradient
        return np.concatenate([to_Q.ravel(), to_P.ravel()])

    start = rng.standard_normal(r * (d_y + m))
    found = scipy.optimize.least_squares(
        gradient, start, jac=lambda x: at(x).hessian, xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    return at(found.x)


def test_theorem_7_at_stationary_points_found_from_random_starts():
    """Of which nothing is assumed but a zero gradient."""
    rng = np.random.default_rng(2)
    A, _, _ = with_values(rng, (3, 4), (2.0, 1.2, 0.5))
    points = [point for point in (found_point(rng, A, 2) for _ in range(40)) if max(map(norm, point.gradient)) < 1e-9]
    minima = [point for point in points if point.excess < 1e-9]
    assert all(point.least > -1e-6 and rank(point.P @ point.Q) == 2 for point in minima)
    saddles = [point for point in points if point.excess > 1e-9]
    assert all(point.least < -1e-3 for point in saddles)
    assert min(len(minima), len(saddles)) > 3


@given(seed=seeds, missing=st.sampled_from([1, 2]))
def test_lemma_21_falls_along_the_pair_that_is_absent(seed, missing):
    """Eqs. (92) to (98): the loss changes by -s d + d^2 / 2, d = d_u d_v, in every gauge; (98) keeps its sign alone."""
    rng, values, r = np.random.default_rng(seed), (2.0, 1.3, 0.7), 3
    A, U, V = with_values(rng, (4, 5), values)
    S = list(rng.permutation(3)[: r - missing])
    absent = next(i for i in range(3) if i not in S)
    point, C = balanced_point(A, U, V, values, S, r), haar(rng, r) * rng.uniform(0.5, 2, r)
    d_u, d_v = rng.uniform(0.01, 1, 2) * rng.choice([-1, 1])
    D_P, D_Q = np.zeros_like(point.P), np.zeros_like(point.Q)
    D_P[:, -1], D_Q[-1] = d_u * U[:, absent], d_v * V[:, absent]
    moved = Pca(A, (point.P + D_P) @ C, np.linalg.solve(C, point.Q + D_Q))
    d, s = d_u * d_v, values[absent]
    assert moved.excess - point.excess == pytest.approx(-s * d + d**2 / 2, abs=1e-11)
    assert point.curvature(D_P, D_Q) == pytest.approx(-2 * s * d, abs=1e-12)


def test_a_matrix_of_lower_rank_has_second_order_points_of_lower_rank():
    """Lemma 21 needs rank(A) >= r."""
    A, U, V = with_values(np.random.default_rng(3), (4, 5), (2.0,))
    point = balanced_point(A, U, V, (2.0,), [0], 2)
    assert point.excess == pytest.approx(0, abs=1e-12)
    assert point.least > -1e-12
    assert rank(point.P @ point.Q) == 1


def test_the_reduction_in_the_proof_of_lemma_21_changes_the_loss():
    """Before (89): with P_S onto row(P) and range(Q), (P P_S, P_S Q) need not have the loss of (P, Q).

    Here (88) fails, rank(P) = 1 < rank(Q) = 2 < r = 3, row(P) and range(Q) meet in 0 alone, and P Q = s_1 u_1 v_1^T
    becomes 0. The lemma holds at the point, which has negative curvature.
    """
    A, U, V = with_values(np.random.default_rng(4), (4, 5), (2.0, 1.0, 0.5))
    unseen = np.linalg.svd(A)[2][-1]
    P, Q = np.outer(U[:, 0], [1, 0, 0]), np.outer([1, 1, 0], 2 * V[:, 0]) + np.outer([0, 0, 1], unseen)
    point = Pca(A, P, Q)
    assert max(map(norm, point.gradient)) < 1e-14
    rows, columns = (X @ pinv(X) for X in (P.T, Q))
    # The projector onto the intersection of two ranges: both projectors, alternated for ever.
    both = np.linalg.matrix_power(rows @ columns, 200)
    reduced = Pca(A, P @ both, both @ Q)
    assert (rank(P), rank(Q)) == (1, 2)
    assert point.excess == pytest.approx((1 + 0.5**2) / 2, abs=1e-12)
    assert reduced.excess == pytest.approx((4 + 1 + 0.5**2) / 2, abs=1e-12)
    assert point.least < -0.1


# Networks and PCA ----------------------------------------------------------------------------------------------------


def network_loss(layers, X, Y):
    """1/2 ||Y - W_N ... W_1 X||_F^2 as lawlib's loss of a network whose first layer is X."""
    return flow.factor_loss((X, *layers), Y, 1.0)


@jax.jit
def _gradient(layers, X, Y):
    return tuple(-moved for moved in flow.factor_field((X, *layers), Y, 1.0)[1:])


@jax.jit
def _hessian(layers, X, Y):
    flat, back = ravel_pytree(layers)
    product = hessian_product(network_loss, layers, X, Y)
    return jax.vmap(lambda v: ravel_pytree(product(back(v)))[0])(jnp.eye(flat.size))


def arrays(layers):
    return tuple(jnp.asarray(W) for W in layers)


def network_gradient(layers, X, Y):
    return [np.asarray(G) for G in _gradient(arrays(layers), jnp.asarray(X), jnp.asarray(Y))]


def network_hessian(layers, X, Y):
    return np.asarray(_hessian(arrays(layers), jnp.asarray(X), jnp.asarray(Y)))


def least_of(hessian):
    return np.linalg.eigvalsh(hessian)[0]


def product(layers):
    return np.asarray(end_to_end(arrays(layers)))


# The widths (d_0, ..., d_N) and the place of the smallest one, r.
NETWORKS = (((4, 3, 2, 3), 2), ((3, 2, 4), 1), ((4, 3, 2), 2))
SAMPLES = 6


def factored(rng, P, widths):
    """Layers with product P (d_y, r) from widths (r, ..., d_y), with directions of their own where they are wider."""
    if len(widths) == 1:
        return []
    inner = [rng.standard_normal((out, into)) for into, out in itertools.pairwise(widths[:-1])]
    G = np.linalg.multi_dot([np.eye(widths[-2]), *inner[::-1], np.eye(widths[0])])
    inverse = pinv(G)
    last = P @ inverse + rng.standard_normal((len(P), len(G))) @ (np.eye(len(G)) - G @ inverse)
    return [*inner, last]


def network_of(rng, P, Q, widths, place):
    """Layers with product P Q, split at the narrowest place."""
    below = factored(rng, Q.T, widths[place::-1])
    return [W.T for W in below[::-1]] + factored(rng, P, widths[place:])


def halves(layers, place):
    """P and Q of (53)."""
    P = product(layers[place:]) if place < len(layers) else np.eye(len(layers[-1]))
    return P, product(layers[:place])


def data(rng, widths, inputs_rank=None):
    """Any X and Y, and A = Y P_X."""
    values = rng.uniform(0.5, 3, widths[0])[:inputs_rank]
    X, _, _ = with_values(rng, (widths[0], SAMPLES), values)
    Y = rng.standard_normal((widths[-1], SAMPLES))
    return X, Y, Y @ pinv(X) @ X


@pytest.mark.parametrize(("widths", "place"), NETWORKS)
@given(seed=seeds)
def test_layers_make_every_change_of_the_two_factors(widths, place, seed):
    """Lemma 4: with (58) the product moves as in (59), and first and second derivatives agree, (64) and (65).

    Eq. (60) lacks the 1/2 of (51): with it as printed, (65) would be off by 2.
    """
    rng, r = np.random.default_rng(seed), min(widths)
    X, Y, _ = data(rng, widths)
    layers = [rng.standard_normal((out, into)) for into, out in itertools.pairwise(widths)]
    P, Q = halves(layers, place)
    D_P, D_Q = rng.standard_normal(P.shape), rng.standard_normal(Q.shape)
    change = [np.zeros_like(W) for W in layers]
    change[0], change[-1] = layers[0] @ pinv(Q) @ D_Q, D_P @ pinv(P) @ layers[-1]
    assert rank(P @ Q) == r
    size = max(1, *(norm(x) for x in change)) ** len(layers) * norm(X) ** 2 * max(map(norm, layers)) ** len(layers)
    moved = product([W + D for W, D in zip(layers, change, strict=True)])
    np.testing.assert_allclose(moved, (P + D_P) @ (Q + D_Q), atol=1e-13 * size)
    error = Pca(Y, P, Q @ X).error
    slope = sum(np.sum(G * D) for G, D in zip(network_gradient(layers, X, Y), change, strict=True))
    assert slope == pytest.approx(-np.sum(error * ((D_P @ Q + P @ D_Q) @ X)), abs=1e-13 * size)
    flat = np.concatenate([D.ravel() for D in change])
    curvature = flat @ network_hessian(layers, X, Y) @ flat
    assert curvature == pytest.approx(Pca(Y, P, Q @ X).curvature(D_P, D_Q @ X), abs=1e-12 * size)


@pytest.mark.parametrize(("widths", "place"), NETWORKS)
@pytest.mark.parametrize("seed", range(4))
def test_stationary_networks_of_full_rank_are_stationary_points_of_pca(widths, place, seed):
    """Lemmas 4 to 6, on layers that need not be balanced nor whitened: orders one and two, and with them Theorem 8."""
    rng, r = np.random.default_rng(seed), min(widths)
    X, Y, A = data(rng, widths)
    U, _, _ = np.linalg.svd(A)
    second_order = []
    for S in subsets(min(len(A), len(X)), [r]):
        # Where the output is the narrowest place, P is the identity.
        gauge = rng.standard_normal((r, r)) if place < len(widths) - 1 else U[:, S].T
        P, Q = U[:, S] @ gauge, np.linalg.solve(gauge, U[:, S].T @ Y @ pinv(X))
        layers = network_of(rng, P, Q, widths, place)
        size = max(map(norm, layers)) ** (2 * len(layers) - 1) * norm(X) ** 2
        np.testing.assert_allclose(product(layers), P @ Q, atol=1e-13 * size)
        assert max(map(norm, network_gradient(layers, X, Y))) < 1e-12 * size
        pca = Pca(A, *(x @ y for x, y in zip(halves(layers, place), (np.eye(r), X), strict=True)))
        assert max(map(norm, pca.gradient)) < 1e-12 * size
        hessian = network_hessian(layers, X, Y)
        flat = 1e-12 * norm(hessian)
        if least_of(hessian) > -flat:
            assert pca.least > -1e-9
            assert pca.excess < 1e-9
            second_order.append(S)
    assert second_order == [list(range(r))]


def test_lemma_4_needs_the_rank():
    """Two layers of 0 below the narrow place are stationary, not (P, 0); 0 is a second-order point, not (0, 0)."""
    rng = np.random.default_rng(5)
    X, Y, A = data(rng, (4, 3, 2, 3))
    layers = [np.zeros((3, 4)), np.zeros((2, 3)), rng.standard_normal((3, 2))]
    assert max(map(norm, network_gradient(layers, X, Y))) == 0
    pca = Pca(A, layers[2], np.zeros((2, SAMPLES)))
    assert norm(pca.gradient[1]) > 1
    layers[2] = np.zeros((3, 2))
    assert norm(network_hessian(layers, X, Y)) == 0
    assert Pca(A, layers[2], np.zeros((2, SAMPLES))).least < -1


@given(seed=seeds, inputs_rank=st.sampled_from([1, 2, 3, 4]))
def test_lemma_5_at_any_point_and_any_rank_of_the_inputs(seed, inputs_rank):
    """Eqs. (67) to (81): losses, gradients and curvatures of (P, Q) and (P, Q X).

    The lemma asks for full rank of X ('column-rank', which must read row rank); it is not used. Eq. (80) lacks a 1/2.
    """
    rng, r = np.random.default_rng(seed), 2
    X, Y, A = data(rng, (4, 3), inputs_rank)
    P, Q, D_P, D_Q = (rng.standard_normal(shape) for shape in ((3, r), (r, 4)) * 2)
    off = np.eye(SAMPLES) - pinv(X) @ X
    whole, pca = Pca(Y, P, Q @ X), Pca(A, P, Q @ X)
    assert norm(whole.error) ** 2 == pytest.approx(norm(Y @ off) ** 2 + norm(pca.error) ** 2, rel=1e-12)
    np.testing.assert_allclose(whole.gradient[0], pca.gradient[0], atol=1e-11)
    # The gradient in Q is that of PCA times X^T, which is 0 only if that of PCA is, since its rows are those of X.
    np.testing.assert_allclose(whole.gradient[1] @ X.T, pca.gradient[1] @ X.T, atol=1e-11)
    np.testing.assert_allclose(pca.gradient[1] @ off, 0, atol=1e-11)
    aside = rng.standard_normal((r, SAMPLES)) @ off
    curvature = whole.curvature(D_P, D_Q @ X) + norm(P @ aside) ** 2
    assert pca.curvature(D_P, D_Q @ X + aside) == pytest.approx(curvature, abs=1e-10)
    assert pca.curvature(np.zeros_like(P), aside) == pytest.approx(norm(P @ aside) ** 2, abs=1e-11)


# Products of layers --------------------------------------------------------------------------------------------------


def by_induction(W, widths):
    """Layers with product W, one at a time from its singular value decomposition, as in Appendix A."""
    if len(widths) == 2:
        return [W]
    U, s, Vt = np.linalg.svd(W)
    d = widths[-2]
    Q = np.zeros((max(d, len(W)), W.shape[1]))
    Q[: len(s)] = s[:, None] * Vt[: len(s)]
    last = np.hstack([U, np.zeros((len(W), len(Q) - len(W)))])
    return [*by_induction(Q[:d], widths[:-1]), last[:, :d]]


CHAINS = ((4, 3, 2, 3), (3, 2, 4), (2, 5, 3, 4), (4, 1, 3, 5), (3, 4, 4, 2))


@pytest.mark.parametrize("widths", CHAINS)
def test_the_products_of_layers_are_the_matrices_of_rank_at_most_the_smallest_width(widths):
    """Eq. (41): both sides, up to the largest rank; one more cannot be factored."""
    rng, r, shape = np.random.default_rng(6), min(widths), (widths[-1], widths[0])
    layers = [rng.standard_normal((out, into)) for into, out in itertools.pairwise(widths)]
    assert rank(product(layers)) == r
    for k in range(r + 1):
        W, _, _ = with_values(rng, shape, rng.uniform(0.5, 2, k))
        for layers in (by_induction(W, widths), balanced_factorization(jnp.asarray(W), widths, rank=max(k, 1))):
            assert [L.shape for L in layers] == [(out, into) for into, out in itertools.pairwise(widths)]
            np.testing.assert_allclose(product(layers), W, atol=1e-13)
    if r < min(shape):
        W, _, _ = with_values(rng, shape, np.ones(r + 1))
        assert norm(product(by_induction(W, widths)) - W) > 0.9
        with pytest.raises(ValueError, match="every width must be at least the rank"):
            balanced_factorization(jnp.asarray(W), widths, rank=r + 1)


@pytest.mark.parametrize("widths", CHAINS)
def test_the_three_problems_have_one_minimum(widths):
    """Eqs. (10) and (12): 1/2 ||Y off P_X||^2 + 1/2 sum_{i > r} s_i(A)^2, reached by layers and never passed."""
    rng, r = np.random.default_rng(7), min(widths)
    X, Y, A = data(rng, widths)
    U, s, _ = np.linalg.svd(A)
    least = (norm(Y - A) ** 2 + np.sum(s[r:] ** 2)) / 2
    W = U[:, :r] @ U[:, :r].T @ Y @ pinv(X)
    layers = [np.asarray(L) for L in balanced_factorization(jnp.asarray(W), widths, rank=r)]

    def loss(layers):
        return norm(Y - product(layers) @ X) ** 2 / 2

    assert float(network_loss(arrays(layers), jnp.asarray(X), jnp.asarray(Y))) == pytest.approx(least, rel=1e-12)
    for scale in (1e-3, 1e-2, 0.1, 1):
        assert loss([L + scale * rng.standard_normal(L.shape) for L in layers]) > least


# Lemma 12 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", CHAINS)
def test_the_layers_of_full_rank_are_not_closed(widths):
    """Lemma 12 (1): layers of full rank tend to layers of rank r - 1, and to 0."""
    rng, r = np.random.default_rng(8), min(widths)
    limit, U, V = with_values(rng, (widths[-1], widths[0]), [2.0, 1.0, 0.5][: r - 1])
    end = balanced_factorization(jnp.asarray(limit), widths, rank=r)
    assert rank(product(end)) == r - 1
    for small in (1e-2, 1e-4, 1e-6):
        W = limit + small * np.outer(U[:, r - 1], V[:, r - 1])
        layers = balanced_factorization(jnp.asarray(W), widths, rank=r)
        assert rank(product(layers)) == r
        apart = max(norm(np.asarray(L.T @ L) - np.asarray(E.T @ E)) for L, E in zip(layers, end, strict=True))
        assert apart == pytest.approx(small ** (2 / len(layers)), rel=1e-5)
        assert 0 < norm(product([small * L for L in layers])) < small**2 * 3


@given(seed=seeds, widths=st.sampled_from(CHAINS), drop=st.integers(0, 3))
def test_a_change_of_layers_without_full_rank_gives_it(seed, widths, drop):
    """Lemma 12 (2): on a line through any layers, full rank is lost at no more than N r numbers, zeros of a minor."""
    rng, r = np.random.default_rng(seed), min(widths)
    layers = [rng.standard_normal((out, into)) for into, out in itertools.pairwise(widths)]
    layers[drop % len(layers)] *= 0
    change = [rng.standard_normal(W.shape) for W in layers]
    degree = len(layers) * r

    def minor(t):
        return np.linalg.det(product([W + t * D for W, D in zip(layers, change, strict=True)])[:r, :r])

    at = np.cos(np.pi * (np.arange(degree + 4) + 0.5) / (degree + 4))
    found = np.polynomial.chebyshev.chebfit(at, [minor(t) for t in at], degree + 3)
    size = np.abs(found).max()
    assert size > 1e-6
    assert np.abs(found[degree + 1 :]).max() < 1e-11 * size
    assert minor(0.0) == 0
    assert rank(product([W + 0.1 * D for W, D in zip(layers, change, strict=True)])) == r


# Lemma 9 -------------------------------------------------------------------------------------------------------------


def flowed(layers, X, Y, duration):
    """Gradient flow (13) by scipy, in numpy: layers at its end."""
    shapes = [W.shape for W in layers]
    cuts = np.cumsum([W.size for W in layers])[:-1]

    def unpack(flat):
        return [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)]

    def field(t, flat):
        *lower, last = unpack(flat)
        inputs = [X]
        for W in lower:
            inputs.append(W @ inputs[-1])
        back, moving = Y - last @ inputs[-1], []
        for W, below in zip([last, *lower[::-1]], inputs[::-1], strict=True):
            moving.append(back @ below.T)
            back = W.T @ back
        return np.concatenate([M.ravel() for M in moving[::-1]])

    start = np.concatenate([W.ravel() for W in layers])
    end = scipy.integrate.solve_ivp(field, (0, duration), start, method="LSODA", rtol=1e-9, atol=1e-12).y[:, -1]
    return unpack(end)


@pytest.mark.parametrize("seed", range(6))
def test_gradient_flow_ends_at_a_second_order_point(seed):
    """Lemma 9, from random starts that are not balanced."""
    rng, widths = np.random.default_rng(seed), (4, 3, 2, 3)
    X, Y, _ = data(rng, widths)
    start = [rng.standard_normal((out, into)) for into, out in itertools.pairwise(widths)]
    layers = flowed(start, X, Y, 500.0)
    later = flowed(layers, X, Y, 500.0)
    # What gradient flow keeps: the layers followed its path.
    for before, after in zip(*(imbalances(arrays(W)) for W in (start, later)), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)
    assert max(norm(W - V) for W, V in zip(layers, later, strict=True)) < 1e-5
    assert max(map(norm, network_gradient(later, X, Y))) < 1e-5
    hessian = network_hessian(later, X, Y)
    assert least_of(hessian) > -1e-6 * norm(hessian)


def test_gradient_flow_from_a_null_set_ends_at_a_strict_saddle():
    """Lemma 9 holds for almost every start: layers without the first coordinate never find it, whose value is 2."""
    rng, Y = np.random.default_rng(9), np.diag([2.0, 1.0, 0.5])
    start = [rng.standard_normal(shape) for shape in ((3, 3), (2, 3), (3, 2))]
    start[0][:, 0], start[2][0] = 0, 0
    layers = flowed(start, np.eye(3), Y, 300.0)
    np.testing.assert_allclose(product(layers), np.diag([0, 1, 0.5]), atol=1e-6)
    assert max(map(norm, network_gradient(layers, np.eye(3), Y))) < 1e-6
    assert least_of(network_hessian(layers, np.eye(3), Y)) < -0.1
