"""Leading triplets and their certificates, products with gradients: against dense SVDs and gradients."""

import functools as ft
import inspect

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawlib.linalg import gradients, shifts, spectra

K = 4
TOLERANCE = {"float64": 1e-11, "float32": 1e-4}
SIX = {"tolerance": 1e-6, "max_passes": 6}
top = jax.jit(spectra.matrix_svd, static_argnames=("k", "oversample", "tolerance", "max_passes"))


@ft.partial(jax.jit, static_argnames=("k", "oversample", "tolerance", "max_passes"))
def iterate(key, G, k, **options):
    return spectra.block_krylov_svd(key, spectra.matrix_products(G), k, **options)


def draw(seed, shape, values, dtype=np.float64):
    """A matrix with these leading singular values, and its singular bases."""
    rng, r = np.random.default_rng(seed), len(values)
    U, V = (np.linalg.qr(rng.standard_normal((d, r)))[0] for d in shape)
    return jnp.asarray((U * values) @ V.T, dtype), U, V


def with_tail(size, ratio):
    return np.concatenate([np.linspace(3, 1, K), ratio * np.linspace(1, 0.1, size - K)])


def sine(U, V):
    """||sin Theta||_F, in float64."""
    U, V = (np.linalg.qr(np.asarray(X, np.float64))[0] for X in (U, V))
    return np.linalg.norm(V - U @ (U.T @ V))


def residual(G, svd):
    G, U, s, V = (np.asarray(x, np.float64) for x in (G, *svd))
    return np.hypot(np.linalg.norm(G @ V - U * s), np.linalg.norm(G.T @ U - V * s))


def errors(found, U, V):
    return [sine(found.svd.left, U[:, :K]), sine(found.svd.right, V[:, :K])]


# A program for each shape, dtype and set of options takes longer to compile than all its runs: few of them are shared.
TALL, WIDE = (90, 70), (70, 90)


@pytest.mark.parametrize(("shape", "dtype"), [(TALL, "float64"), (WIDE, "float64"), (TALL, "float32")])
def test_a_gapped_spectrum_is_certified_and_agrees_with_the_dense_decomposition(shape, dtype, tol):
    G, *_ = draw(0, shape, with_tail(70, 1 / 30), np.dtype(dtype))
    found = top(jax.random.key(1), G, K, tolerance=TOLERANCE[dtype])
    L, s, Rt = np.linalg.svd(np.asarray(G, np.float64))
    assert found.certified
    assert not found.dense
    assert found.svd.values.dtype == dtype
    assert max(errors(found, L, Rt.T)) < 10 * TOLERANCE[dtype]
    np.testing.assert_allclose(found.svd.values, s[:K], rtol=tol(G, 1))
    U, _, V = map(np.asarray, found.svd)
    assert residual(G, found.svd) <= float(found.residual)
    np.testing.assert_allclose(U.T @ U, np.eye(K), atol=tol(U, 10))
    np.testing.assert_allclose(V.T @ V, np.eye(K), atol=tol(U, 10))


@given(seed=st.integers(0, 2**31), ratio=st.floats(0.02, 0.98), shape=st.sampled_from([TALL, WIDE]))
def test_the_error_is_within_the_bound(seed, ratio, shape):
    G, U, V = draw(seed, shape, with_tail(70, ratio))
    found = iterate(jax.random.key(seed), G, K, **SIX)
    assert max(errors(found, U, V)) <= found.bound
    assert residual(G, found.svd) <= float(found.residual)
    # Of the next value an estimate is all that there is: it falls short by a fraction of the gap at most.
    assert found.next_value >= ratio * 0.97
    assert found.certified == (found.bound <= SIX["tolerance"])


def test_the_bound_is_not_vacuous():
    G, U, V = draw(3, TALL, with_tail(70, 1 / 3))
    found = iterate(jax.random.key(4), G, K, **SIX)
    assert max(errors(found, U, V)) > found.bound / 50


@pytest.mark.parametrize("seed", range(3))
def test_six_passes_reach_a_millionth_at_a_gap_of_thirty(seed):
    G, U, V = draw(seed, TALL, np.concatenate([np.linspace(10, 1, K), np.linspace(1, 0.9, 66) / 30]))
    found = iterate(jax.random.key(seed), G, K, **SIX)
    assert found.certified
    assert found.passes <= 6
    assert max(errors(found, U, V)) < 1e-6


def test_a_flat_spectrum_is_said_to_be_flat(dtype, tol):
    G, *_ = draw(5, TALL, np.ones(70), dtype)
    alone = iterate(jax.random.key(6), G, K, **SIX)
    assert not alone.certified
    assert not alone.dense
    found = top(jax.random.key(6), G, K, tolerance=TOLERANCE[dtype.name])
    assert not found.certified
    assert found.dense
    np.testing.assert_allclose(found.svd.values, 1, rtol=tol(G, 1))


def test_a_small_gap_ends_in_a_dense_decomposition_that_certifies_it():
    G, U, V = draw(7, TALL, with_tail(70, 0.99))
    found = top(jax.random.key(8), G, K, tolerance=TOLERANCE["float64"])
    assert found.dense
    assert found.certified
    assert max(errors(found, U, V)) <= found.bound
    np.testing.assert_allclose([found.next_value, found.gap], [0.99, 0.01], rtol=1e-10)
    assert found.passes == 8


def test_rank_below_k_and_a_zero_matrix_are_not_certified(dtype, tol):
    G, U, V = draw(9, TALL, np.array([3.0, 2.0]), dtype)
    found = iterate(jax.random.key(1), G, K, **SIX)
    assert not found.certified
    left, values, right = map(np.asarray, found.svd)
    np.testing.assert_allclose(values, [3, 2, 0, 0], atol=tol(G))
    assert max(sine(left[:, :2], U), sine(right[:, :2], V)) < tol(G, 10)
    zero = iterate(jax.random.key(1), jnp.zeros_like(G), K, **SIX)
    assert not zero.certified
    assert zero.residual == np.inf
    np.testing.assert_array_equal(zero.svd.values, 0)


def test_where_rows_repeat_rounding_errors_do_not_bend_the_vectors(dtype, tol):
    rng = np.random.default_rng(0)
    rows, rank = rng.standard_normal((20, 7)), rng.standard_normal((7, 70))
    G = jnp.asarray(np.repeat(rows, 4, axis=0) @ rank, dtype)  # what is left of the second block is in few directions
    svd = iterate(jax.random.key(1), G, 2 * K, oversample=4, max_passes=6).svd
    np.testing.assert_allclose(svd.left.T @ svd.left, np.eye(2 * K), atol=tol(svd.left))
    expected = np.linalg.svd(np.asarray(G, float), compute_uv=False)
    np.testing.assert_allclose(
        svd.values, expected[: 2 * K], rtol=tol(svd.left, 1), atol=expected[0] * tol(svd.left, 1)
    )


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_certificate_has_no_units(scale):
    G, *_ = draw(10, TALL, with_tail(70, 1 / 3), np.float32)
    one, scaled = (iterate(jax.random.key(2), G * np.asarray(c, np.float32), K, **SIX) for c in (1, scale))
    assert scaled.bound < 0.1
    np.testing.assert_allclose(scaled.bound, one.bound, rtol=1e-2)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_not_finite_is_not_certified(value):
    G = np.asarray(draw(10, TALL, with_tail(70, 1 / 30), np.float32)[0]).copy()
    G[3, 4] = value
    assert not iterate(jax.random.key(2), jnp.asarray(G), K, **SIX).certified


@pytest.mark.parametrize("scale", [1e-31, 1e-33, 1e-36, 1e-39])
def test_what_is_lost_below_the_smallest_number_is_not_certified(scale):
    G, U, V = draw(10, TALL, with_tail(20, 1 / 30))
    found = iterate(jax.random.key(2), (G * scale).astype("float32"), K, **SIX)
    assert max(errors(found, U, V)) <= float(found.bound)
    assert jnp.isfinite(found.bound) == (scale == 1e-31)


def test_all_triplets_of_a_small_matrix_take_two_passes(tol):
    G = np.random.default_rng(11).standard_normal((6, 9))
    found = iterate(jax.random.key(0), jnp.asarray(G), 6, **SIX)
    assert found.passes == 2
    assert found.certified
    np.testing.assert_allclose(found.svd.values, np.linalg.svd(G, compute_uv=False), rtol=tol(G))
    assert found.next_value < tol(G)


def test_a_block_of_more_than_half_of_a_side_is_the_whole_side():
    # Fourteen columns of the twenty would see nothing but a flat spectrum.
    G, U, V = draw(22, (25, 20), with_tail(20, 0.99))
    found = iterate(jax.random.key(0), G, K, **SIX)
    assert found.passes == 2
    assert found.certified
    assert max(errors(found, U, V)) <= found.bound


def test_a_warm_start_saves_passes_and_still_sees_what_is_new():
    G, U, V = draw(12, TALL, with_tail(70, 1 / 30))
    cold = iterate(jax.random.key(3), G, K, **SIX)
    warm = iterate(jax.random.key(4), G, K, start=cold.svd, **SIX)
    assert warm.certified
    assert warm.passes == 2 < cold.passes
    assert max(errors(warm, U, V)) < 1e-6
    # A direction orthogonal to all that was found becomes the largest.
    new = G + 5 * np.outer(U[:, 30], V[:, 30])
    found = iterate(jax.random.key(5), new, K, start=cold.svd, **SIX)
    L, _, Rt = np.linalg.svd(new)
    assert max(errors(found, L, Rt.T)) <= found.bound < 1e-3


def test_it_runs_under_vmap(tol):
    both = jnp.stack([draw(s, TALL, with_tail(70, r))[0] for s, r in ((13, 1 / 30), (14, 1.0))])
    search = jax.vmap(lambda G: spectra.matrix_svd(jax.random.key(0), G, K, tolerance=1e-3, max_passes=4))
    found = jax.jit(search)(both)
    assert list(found.dense) == [False, True]
    assert list(found.certified) == [True, False]
    for G, values in zip(np.asarray(both), found.svd.values, strict=True):
        np.testing.assert_allclose(values, np.linalg.svd(G, compute_uv=False)[:K], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"k must be in 1\.\.5 .* got 0"),
        ({"k": 6}, r"k must be in 1\.\.5 .* got 6"),
        ({"k": 2, "oversample": 0}, "oversample must be a whole number of at least 1, got 0"),
        ({"k": 2, "max_passes": 1}, "max_passes must be a whole number of at least 2, got 1"),
        ({"k": 2, "tolerance": 0.0}, "tolerance must be finite and above 0, got 0"),
        (
            {"k": 2, "start": spectra.SVD(jnp.ones((5, 2)), jnp.ones(2), jnp.ones((5, 2)))},
            r"start needs left \(7, 2\)",
        ),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        spectra.matrix_svd(jax.random.key(0), jnp.ones((7, 5)), **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("joint", [False, True])
def test_counts_that_are_not_whole_are_refused_at_once(joint):
    products = spectra.matrix_products(jnp.ones((7, 5)))
    key, options = jax.random.key(0), {"oversample": 2.5, "max_passes": True, "tolerance": "low"}
    apply = lambda right, left: {}  # noqa: E731
    several = spectra.JointProducts(apply, {"one": (7, 5), "two": (5, 7)}, dict.fromkeys(("one", "two"), "float32"))
    message = (
        "k must be a whole number of at least 1, got 2.5; oversample must be a whole number of at least 1, got 2.5; "
        "max_passes must be a whole number of at least 2, got True; tolerance must be finite and above 0, got low"
    )
    find = spectra.joint_block_krylov_svd if joint else spectra.block_krylov_svd
    given = ({"one": key, "two": key}, several) if joint else (key, products)
    with pytest.raises(ValueError, match=f"^{message}$"):
        find(*given, 2.5, **options)


@pytest.mark.usefixtures("unchecked")
def test_counts_of_numpy_are_whole():
    counts = {"oversample": np.int64(3), "max_passes": np.int32(4)}
    found = spectra.matrix_svd(jax.random.key(0), jnp.eye(7, 5), np.int64(2), **counts)
    np.testing.assert_allclose(found.svd.values, [1, 1], rtol=1e-12)


def test_a_matrix_in_place_of_its_products_is_told_how_to_give_them():
    with pytest.raises(TypeError, match=r"matrix_products\(A\), got ArrayImpl"):
        inspect.unwrap(spectra.block_krylov_svd)(jax.random.key(0), jnp.ones((7, 5)), 2)


def test_other_dtypes_are_refused_and_numpy_is_taken():
    with pytest.raises(TypeError, match="float32 or float64, got bfloat16"):
        spectra.matrix_svd(jax.random.key(0), jnp.ones((7, 5), jnp.bfloat16), 2)
    found = spectra.matrix_svd(jax.random.key(0), np.diag([3.0, 2.0, 1.0]), 1)
    assert found.certified
    np.testing.assert_allclose(found.svd.values, [3.0], rtol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_holds_at_the_floor_of_rounding(seed, dtype):
    G, *_ = draw(seed, TALL, np.concatenate([[1, 1, 1, 0.9], np.full(66, 0.1)]), dtype)
    L, _, Rt = np.linalg.svd(np.asarray(G, np.float64))
    found = iterate(jax.random.key(seed), G, K, **SIX)
    assert max(errors(found, L, Rt.T)) <= float(found.bound)
    assert residual(G, found.svd) <= float(found.residual)


class Network(nn.Module):
    """Two named layers in a block of its own, one used twice."""

    dtype: object = None
    param_dtype: object = jnp.float64

    @nn.compact
    def __call__(self, x):
        dense = ft.partial(nn.Dense, param_dtype=self.param_dtype, dtype=self.dtype)
        shared = dense(12, name="shared")
        x = shared(jnp.tanh(shared(x)))
        return dense(3, name="out")(nn.gelu(dense(20, name="wide")(x)))


def cross_entropy(network, variables, batch):
    x, label = batch
    return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(network.apply(variables, x), label)) / 30


def flax_problem(network, dtype):
    rng = np.random.default_rng(15)
    batches = jnp.asarray(rng.standard_normal((3, 10, 12)), dtype), jnp.asarray(rng.integers(0, 3, (3, 10)))
    return network.init(jax.random.key(0), batches[0][0]), batches


def dense_gradient(loss, weight, batches):
    grads = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(weight, batches)
    return jax.tree.map(lambda g: g.astype(jnp.float64).sum(0), grads)


def as_matrix(products, seed=0):
    """Random blocks times the products, and the blocks."""
    rng = np.random.default_rng(seed)
    V, U = (jnp.asarray(rng.standard_normal((d, 5)), products.dtype) for d in products.shape[::-1])
    return V, products.forward(V), U, products.adjoint(U)


@pytest.mark.parametrize("path", ["shared", "wide"])
def test_products_of_a_flax_network_are_those_of_the_dense_gradient(path, tol):
    network = Network()
    variables, batches = flax_problem(network, jnp.float64)
    loss = ft.partial(cross_entropy, network)
    G = dense_gradient(loss, variables, batches)["params"][path]["kernel"]
    products = gradients.gradient_products(loss, variables, f"params/{path}/kernel", batches, dtype=jnp.float64)
    V, GV, U, GtU = jax.jit(lambda: as_matrix(products))()
    np.testing.assert_allclose(GV, G @ V, rtol=0, atol=tol(G))
    np.testing.assert_allclose(GtU, G.T @ U, rtol=0, atol=tol(G))


def test_triplets_of_a_gradient_in_columns_are_those_of_the_dense_gradient():
    # A planted target of rank 4: the gradient's fifth value is the noise in the samples.
    rng = np.random.default_rng(16)
    W, X = jnp.asarray(rng.standard_normal((60, 50)) / 7), jnp.asarray(rng.standard_normal((4, 50, 25)))
    targets = (jnp.asarray(draw(17, (60, 50), np.linspace(30, 10, K))[0]) @ X + W @ X) + 1e-2

    def loss_of(output, batch):
        return jnp.sum(jnp.square(output - batch[1])) / 2

    def shifted(shift, batch):
        return loss_of(W @ batch[0] + shift.columns(batch[0]), batch)

    products = shifts.shifted_gradient_products(shifted, (X, targets), (60, 50), jnp.float64)
    found = jax.jit(lambda: spectra.block_krylov_svd(jax.random.key(1), products, K, tolerance=1e-12, max_passes=10))()
    G = dense_gradient(lambda W, batch: loss_of(W @ batch[0], batch), W, (X, targets))
    L, s, Rt = np.linalg.svd(G)
    assert s[K - 1] > 5 * s[K]
    assert found.certified
    assert max(errors(found, L, Rt.T)) < 1e-10
    np.testing.assert_allclose(found.svd.values, s[:K], rtol=1e-12)


def results(jaxpr):
    """The shapes of all that a program computes, its loops' and functions' bodies included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from results(inner)


def test_the_weights_gradient_is_never_formed():
    W, x = jnp.ones((40, 30)), jnp.ones((1, 30, 2))

    def products(W):
        def loss(shift, x):
            return jnp.sum(jnp.sin(W @ x + shift.columns(x)))

        return shifts.shifted_gradient_products(loss, x, (40, 30), jnp.float64)

    for program in (
        lambda W: products(W).forward(jnp.ones((30, 3))),
        lambda W: products(W).adjoint(jnp.ones((40, 3))),
    ):
        shapes = set(results(jax.make_jaxpr(program)(W).jaxpr))
        assert (40, 2) in shapes
        assert not {(40, 30), (30, 40)} & shapes


@pytest.mark.parametrize("path", ["absent", "wide/inner"])
def test_a_layer_that_is_not_there_is_named(path):
    variables, batches = flax_problem(Network(), jnp.float64)
    with pytest.raises(ValueError, match=rf"no leaf 'params/{path}/kernel': they have .*'params/wide/kernel'"):
        gradients.gradient_products(ft.partial(cross_entropy, Network()), variables, f"params/{path}/kernel", batches)
