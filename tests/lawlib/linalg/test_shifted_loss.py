"""A loss that only multiplies by a leaf, shifted without an array of its size, against the gradient in the leaf."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lawlib.linalg.gradients import gradient_products
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.shifted_loss import Uses, shifted_results
from lawlib.linalg.shifts import Shift

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.standard_normal(shape))


K, X, CUBE, CUBES = normal(4, 5), normal(1, 6, 4), normal(3, 2, 5), normal(3, 4, 5)
IMAGES, SIGNALS = normal(1, 2, 5, 6, 4), normal(1, 2, 4, 9)


def conv(spec, **options):
    def run(x, kernel):
        return lax.conv_general_dilated(x, kernel, dimension_numbers=spec, **options)

    return run


NHWC, NCH = ("NHWC", "HWIO", "NHWC"), ("NCH", "OIH", "NCH")
ROWS = Matricization((0, 1, 2), 3)
# A product of data and leaf, the data, the leaf, and how it is read.
PRODUCTS = {
    "rows": (lambda x, W: x @ W, X, K, None),
    "columns": (lambda x, W: W.T @ x.T, X, K, None),
    "read the other way": (lambda x, W: x @ W, X, K, Matricization(1, 0)),
    "called twice": (lambda x, W: jnp.tanh(x @ W) @ W.T @ W, X, K, None),
    "its own square": (lambda x, W: x @ W @ (W.T @ W), X, K, None),
    "vmapped": (lambda x, W: jax.vmap(lambda x: W.T @ x)(x), X, K, None),
    "jitted": (lambda x, W: jax.jit(lambda W: W.T)(W) @ jax.jit(lambda x, W: x @ W @ W.T)(x, W).T, X, K, None),
    "closed over": (lambda x, W: jax.jit(lambda x: x @ W)(x), X, K, None),
    "checkpoint": (lambda x, W: jax.checkpoint(lambda x, W: jnp.sin(x @ W))(x, W), X, K, None),
    "cast": (lambda x, W: x @ W.astype("float32").astype("float64"), X, K, None),
    "some of its rows": (
        lambda x, W: jnp.einsum("nab,abc->nac", x.reshape(6, 2, 2), W),
        X,
        normal(2, 2, 3),
        Matricization((0, 1), 2),
    ),
    "scan": (lambda x, W: lax.scan(lambda s, r: (jnp.tanh(s @ W @ W.T + r[None]), s @ W), x, x)[1], X, K, None),
    "over its rows": (lambda x, W: lax.scan(lambda s, r: (s, CUBE[..., :5] @ r), 0.0, W)[1], X, K, None),
    "over its columns": (lambda x, W: lax.scan(lambda s, c: (s, x @ c), 0.0, W.T)[1], X, K, None),
    "map": (lambda x, W: lax.map(lambda r: r @ W, x), X, K, None),
    "heads": (lambda x, W: jnp.einsum("nd,hdk->nhk", x, W), X, normal(2, 4, 3), Matricization(1, (0, 2))),
    "a head": (lambda x, W: jnp.einsum("nd,hdk->nhk", x, W), X, normal(2, 4, 3), Matricization(1, 2, 1)),
    "back": (lambda x, W: jnp.einsum("hk,hkd->d", x[:3, :2], W), X, CUBE, Matricization((0, 1), 2)),
    "ensemble": (lambda x, W: jax.vmap(lambda W: jnp.sin(x @ W))(W), X, normal(3, 4, 5), Matricization(1, 2, 2)),
    "both axes": (lambda x, W: jnp.einsum("nab,ab->n", CUBES, W), X, K, None),
    "image": (conv(NHWC, window_strides=(1, 1), padding="SAME"), IMAGES, normal(3, 2, 4, 3), ROWS),
    "strides": (
        conv(NHWC, window_strides=(2, 1), padding=[(1, 0), (2, 2)], rhs_dilation=(1, 2), lhs_dilation=(2, 1)),
        IMAGES,
        normal(3, 2, 4, 3),
        Matricization((2, 0, 1), 3),
    ),
    "groups": (
        conv(NHWC, window_strides=(1, 1), padding="VALID", feature_group_count=2),
        IMAGES,
        normal(2, 2, 2, 6),
        ROWS,
    ),
    "depthwise": (
        conv(NCH, window_strides=(1,), padding="SAME", feature_group_count=4),
        SIGNALS,
        normal(8, 1, 3),
        Matricization((1, 2), 0),
    ),
    "vmapped image": (
        jax.vmap(conv(NCH, window_strides=(1,), padding="SAME"), in_axes=(0, None)),
        normal(1, 3, 2, 4, 9),
        normal(5, 4, 3),
        Matricization((2, 1), 0),
    ),
}


def loss_of(product):
    # Its gradient depends on the values of the product.
    return lambda params, x: jnp.sum(jnp.sin(product(x, params["leaf"])) * (1 + product(x, params["leaf"])))


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_and_values_with_the_shift_are_those_of_the_shifted_leaf(case):
    product, x, leaf, read = PRODUCTS[case]
    loss, params = loss_of(product), {"leaf": leaf}
    read_as, uses = read or Matricization(), Uses([], [], [])
    m, n = read_as.shape(leaf)
    shift = Shift(jnp.cos(jnp.arange(2.0 * m)).reshape(m, 2), jnp.sin(jnp.arange(2.0 * n)).reshape(n, 2))

    @jax.jit
    def run(leaf, x):
        free = gradient_products(loss, {"leaf": leaf}, "leaf", x, matricization=read, route="matrix_free")
        of_leaf = lambda leaf: loss({"leaf": leaf}, x[0])  # noqa: E731
        G = read_as.matrix(jax.grad(of_leaf)(leaf))
        (shifted,) = shifted_results(jax.make_jaxpr(of_leaf)(leaf), [leaf], {0: (shift, read_as, uses)})
        whole = read_as.leaf(read_as.matrix(leaf) + shift.left @ shift.right.T, leaf)
        return free.forward(jnp.eye(n)), free.adjoint(jnp.eye(m)).T, G, shifted, of_leaf(whole), of_leaf(leaf)

    forward, adjoint, G, shifted, whole, still = run(params["leaf"], x)
    assert np.abs(G).max() > 0
    size = 1e-5 if case == "cast" else 1e-12
    np.testing.assert_allclose(forward, G, rtol=0, atol=size * np.abs(G).max())
    np.testing.assert_allclose(adjoint, G, rtol=0, atol=size * np.abs(G).max())
    # A shift of any size gives the loss of the shifted leaf, unless a product takes the leaf twice.
    assert abs(whole - still) > 1e-3 * abs(still)
    assert bool(uses.pairs) == (case == "its own square")
    assert uses.pairs or abs(shifted - whole) <= 100 * size * abs(whole)


def test_a_compiled_product_of_many_samples_is_that_of_numpy():
    """XLA, on a CPU, compiles the gradient of this loss wrongly where it knows that the shift is 0."""
    rng = np.random.default_rng(0)
    h, K = (rng.standard_normal(shape).astype("float32") for shape in ((1, 1200, 64), (64, 10)))
    labels = np.eye(10, dtype="float32")[np.arange(1200) % 10][None]

    def loss(K, batch):
        return -jnp.mean(batch[1] * jax.nn.log_softmax(batch[0] @ K))

    @jax.jit
    def run(K, batches):
        free = gradient_products(loss, K, "params", batches, route="matrix_free")
        return free.forward(jnp.eye(10, dtype="float32")), free.adjoint(jnp.eye(64, dtype="float32")).T

    exponentials = np.exp(np.float64(h[0] @ K))
    G = h[0].T @ (exponentials / exponentials.sum(1, keepdims=True) - labels[0]) / labels.size
    for found in run(K, (h, labels)):
        np.testing.assert_allclose(found, G, rtol=0, atol=1e-5 * np.abs(G).max())


MASK = np.arange(20.0).reshape(4, 5) % 2
OTHERS = {
    "penalty": (lambda x, W: jnp.sum(x @ W) + jnp.sum(W**2), "integer_pow|square"),
    "mask": (lambda x, W: x @ (W * MASK), "mul"),
    "norm": (lambda x, W: x @ (W / jnp.linalg.norm(W)), "div, .*"),
    "entry": (lambda x, W: x @ W[:, :2], "slice"),
    "lookup": (lambda x, W: W[jnp.asarray([0, 1])], "gather"),
    "choice": (lambda x, W: lax.cond(x[0, 0] > 0, lambda W: x @ W, lambda W: x @ W, W), "cond"),
    "state": (lambda x, W: lax.scan(lambda W, r: (2 * W, x @ W), W, x)[1], "the state of a scan"),
    "a result of a scan": (lambda x, W: lax.scan(lambda s, r: (s, W), 0.0, x)[1], "the results of a scan"),
    "both": (lambda x, W: jnp.sin(W).sum() + jnp.cumsum(W).sum(), "cumsum|reshape, sin|sin"),
    "own derivative": (lambda x, W: jax.nn.relu(W).sum(), "custom_jvp_call"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_uses_are_refused_by_name(case):
    product, other = OTHERS[case]
    build = lambda W: gradient_products(loss_of(product), {"leaf": W}, "leaf", X, route="matrix_free").forward(K.T)  # noqa: E731
    with pytest.raises(ValueError, match=rf"'leaf' is not only multiplied by.*in other operations: ({other}); use rou"):
        jax.eval_shape(build, K)


def test_a_leaf_that_the_loss_does_not_use_is_refused():
    with pytest.raises(ValueError, match=r"'leaf' is not only .*: the loss does not use it; use route='parameter'"):
        gradient_products(lambda params, x: jnp.sum(x @ K), {"leaf": K}, "leaf", X, route="matrix_free")


def test_a_convolution_read_by_other_axes_is_refused():
    product, x, leaf, _ = PRODUCTS["image"]
    read = Matricization((0, 1), (2, 3))
    with pytest.raises(ValueError, match="in other operations: conv_general_dilated"):
        gradient_products(loss_of(product), {"leaf": leaf}, "leaf", x, matricization=read, route="matrix_free")


def results(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from results(inner)


@pytest.mark.parametrize(
    ("product", "leaf", "read"),
    [
        (lambda x, W: x @ W, normal(40, 30), None),
        (lambda x, W: jnp.einsum("nd,dhk->nhk", x, W), normal(40, 5, 6), Matricization(0, (1, 2))),
        (
            lambda x, W: lax.scan(lambda s, W: (jnp.sin(s @ W), None), x, W)[0],
            normal(7, 40, 40),
            Matricization(1, 2, 3),
        ),
        (
            lambda x, W: conv(NHWC, window_strides=(1, 1), padding="SAME")(x[None, None], W),
            normal(2, 2, 40, 30),
            Matricization((0, 1, 2), 3),
        ),
    ],
)
def test_nothing_of_the_leafs_size_is_formed(product, leaf, read):
    def sizes(route, side):
        def program(leaf, x):
            products = gradient_products(loss_of(product), {"leaf": leaf}, "leaf", x, matricization=read, route=route)
            m, n = products.shape
            return products.forward(jnp.ones((n, 3))) if side else products.adjoint(jnp.ones((m, 3)))

        return {np.prod(shape) for shape in results(jax.make_jaxpr(program)(leaf, normal(1, 2, 40)).jaxpr)}

    one = np.prod((read or Matricization()).shape(leaf))
    assert {one, leaf.size} & sizes("parameter", 1)
    for side in (0, 1):
        assert max(sizes("matrix_free", side)) < one
