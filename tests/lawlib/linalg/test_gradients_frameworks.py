"""The same network in four ways: the same products and triplets, which are those of the dense gradient."""

import warnings

import equinox as eqx
import flax.linen as nn
import four_ways
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from four_ways import SHAPES, WAYS

from lawlib.linalg.gradients import gradient_products, joint_gradient_products, matricizations
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.spectra import block_krylov_svd

ROUTES = ("parameter", "matrix_free")
SIZES = {"conv": (8, 6), "query": (6, 6), "out": (6, 6), "hidden": (6, 7), "last": (7, 4)}


@pytest.fixture(scope="module")
def dense():
    """The gradients as matrices, in float64, from the plain network."""
    loss, params, _ = four_ways.plain("float64")
    images, targets = four_ways.batches("float64")

    def total(kernels):
        return sum(loss(params | kernels, (images[i], targets[i])) for i in range(len(images)))

    gradients = jax.jit(jax.grad(total))(four_ways.kernels("float64"))
    return {name: np.asarray(gradients[name]).reshape(SIZES[name]) for name in SHAPES}


@pytest.mark.parametrize("way", WAYS)
def test_products_and_triplets_are_those_of_the_dense_gradient(way, dense, dtype):
    loss, params, layers = WAYS[way](dtype)
    batches = four_ways.batches(dtype)
    size = 300 * float(jnp.finfo(dtype).eps)
    # Compiling is all of the time: of float32 two layers, and the adjoint of two.
    names = SHAPES if dtype == jnp.float64 else ("conv", "out")

    def products_of(name, route):
        where, read = layers[name]
        return gradient_products(loss, params, where, batches, matricization=read, route=route)

    @jax.jit
    def run():
        built = {(name, route): products_of(name, route) for name in names for route in ROUTES}
        found = block_krylov_svd(jax.random.key(0), built["conv", "parameter"], 2)
        forward = {at: each.forward(jnp.eye(each.shape[1], dtype=dtype)) for at, each in built.items()}
        free = {name: built[name, "matrix_free"] for name in ("conv", "out")}
        return (
            forward,
            {name: each.adjoint(jnp.eye(each.shape[0], dtype=dtype)).T for name, each in free.items()},
            found,
        )

    forward, adjoint, found = run()
    for name, G in [(name, G) for (name, _), G in forward.items()] + [*adjoint.items()]:
        assert G.dtype == dtype
        np.testing.assert_allclose(G, dense[name], rtol=0, atol=size * np.abs(dense[name]).max())
    L, values, Rt = np.linalg.svd(dense["conv"])
    assert found.certified
    np.testing.assert_allclose(found.svd.values, values[:2], rtol=size)
    for ours, truth in ((found.svd.left, L[:, :2]), (found.svd.right, Rt[:2].T)):
        assert np.linalg.norm(np.asarray(ours) - truth @ (truth.T @ np.asarray(ours))) <= float(found.bound)


def in_half(way, scale):
    """The network in float16, its loss times a number in float32, and how two of its layers are read."""
    loss, params, _ = WAYS[way]("float16")
    read = matricizations(loss, params, four_ways.batches("float16"))
    names = [at for at in read if "conv" in at or "last" in at]
    scaled = lambda params, batch: loss(params, batch).astype("float32") * scale  # noqa: E731
    return scaled, params, {at: read[at] for at in names}


@pytest.mark.parametrize("way", WAYS)
def test_a_gradient_that_underflows_in_half_precision_is_warned_of_by_layer_and_dtype(way):
    data, lost = (
        four_ways.batches("float16"),
        r"the gradient in the layer '\S*{}\S*' underflows in float16: its largest",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = joint_gradient_products(*in_half(way, 1.0), data)
    with pytest.warns(UserWarning, match=f"{lost.format('conv')}.*; {lost.format('last')}.*: multiply the loss by"):
        joint_gradient_products(*in_half(way, 2.0**-18), data)
    assert len(right.shapes) == 2


@pytest.mark.parametrize("route", ROUTES)
def test_a_gradient_with_few_digits_is_warned_of_and_its_scaled_loss_is_not(route, dense):
    """The products of all columns, against those in float64: one of the two is off by more than rounding."""
    data, off = four_ways.batches("float16"), []
    for scale in (2.0**-18, 1.0):
        loss, params, layers = in_half("plain", scale)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            products = gradient_products(loss, params, "last", data, matricization=layers["last"], route=route)
        G = np.asarray(jax.jit(products.forward)(jnp.eye(products.shape[1], dtype=products.dtype))) / scale
        off.append(np.linalg.norm(G - dense["last"]) / np.linalg.norm(dense["last"]))
        assert len(told) == (scale < 1)
    assert off[0] > 3 * off[1]


def told_of(loss, route, data, **params):
    """What is warned of when the products with the gradient in "a" are built."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gradient_products(loss, {name: jnp.asarray(M, "float32") for name, M in params.items()}, "a", data, route=route)
    return [str(each.message) for each in told]


RNG = np.random.default_rng(7)
A, B = RNG.standard_normal((20, 30)) / 4, RNG.standard_normal((30, 1)) / 5
ROWS = jnp.asarray(RNG.standard_normal((1, 2048, 20)) + 1, "float32")


# Where the loss overflows at 1024 times its scale, at 32 times, at 4 times, and at twice its scale.
@pytest.mark.parametrize("scale", [70.0, 3e3, 3e4, 6e4])
@pytest.mark.parametrize("route", ROUTES)
def test_underflow_is_found_in_a_loss_that_overflows_at_a_larger_scale(route, scale):
    """The size is no constant: of two constant factors compilers make one, here 0."""

    def loss(params, x, dtype="float16"):
        size = params["size"].astype(dtype)
        out = jnp.tanh(x.astype(dtype) @ params["a"].astype(dtype)) @ params["b"].astype(dtype)
        return scale * jnp.sum((out * size * size).astype("float32"))

    lost, kept = (jnp.full((1, 1), size * scale**-0.5, "float32") for size in (1e-3, 0.3))
    given = {"b": jnp.asarray(B, "float32"), "size": lost}
    exact, ours = (
        jax.grad(lambda a, to=to: loss({"a": a} | given, ROWS[0], to))(jnp.asarray(A, "float32"))
        for to in ("float32", "float16")
    )
    assert np.linalg.norm(ours - exact) > 0.03 * np.linalg.norm(exact)
    (told,) = told_of(loss, route, ROWS, a=A, b=B, size=lost)
    assert "the gradient in the layer 'a' underflows in float16" in told
    assert told_of(loss, route, ROWS, a=A, b=B, size=kept) == []


def test_a_gradient_that_overflows_at_each_scale_is_said_not_to_be_checked():
    def loss(params, x):
        return 2e38 * jnp.sum(x.astype("float16").astype("float32") @ params["a"])

    (told,) = told_of(loss, "parameter", jnp.ones((1, 1, 20)), a=np.abs(A) * 1e-3)
    assert "'a' overflows at each scale of the loss, and is not checked for underflow in float16" in told


BESIDE = {
    "loss": lambda small, x: small.astype("float16"),
    "data": lambda small, x: small,
    "metric": lambda small, x: small + 0 * jnp.sum(x.astype("float16")).astype("float32"),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", BESIDE)
def test_a_narrow_dtype_beside_a_gradient_in_float32_is_no_reason_to_warn(kind, route):
    def loss(params, x):
        rows = x.astype("float16").astype("float32") if kind == "data" else x
        return BESIDE[kind](1e-4 * jnp.mean(jnp.tanh(rows @ params["a"]) ** 2), x)

    assert told_of(loss, route, ROWS, a=A) == []


def test_the_range_of_float32_is_no_reason_to_warn():
    data = four_ways.batches("bfloat16")
    loss, params, _ = WAYS["plain"]("bfloat16")
    scaled = lambda params, batch: loss(params, batch).astype("float32") * 2.0**-40  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        products = joint_gradient_products(scaled, params, {"last": Matricization()}, data)
    assert products.shapes == {"last": (7, 4)}


@pytest.mark.parametrize("way", WAYS)
def test_how_the_loss_reads_each_layer_is_found(way):
    loss, params, layers = WAYS[way]("float32")
    found = matricizations(loss, params, four_ways.batches("float32"))
    wanted = [read or Matricization() for _, read in layers.values()]
    ours = [next(read for at, read in found.items() if name in at) for name in layers]
    assert (len(found), ours) == (len(layers), wanted)


# A stack of three layers that is scanned over, of 4 units each, in four ways.
STACK, X = (np.random.default_rng(2).standard_normal(shape) for shape in ((3, 4, 4), (2, 5, 4)))


def plain_stack():
    def loss(stack, x):
        return jnp.sum(jax.lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, stack["kernel"])[0] ** 2)

    return loss, {"kernel": jnp.asarray(STACK)}, lambda stack: stack["kernel"], (1, 2)


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return jnp.tanh(nn.Dense(4, use_bias=False, param_dtype=jnp.float64, name="dense")(x)), None


def linen_stack():
    steps = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()
    loss = lambda held, x: jnp.sum(steps.apply(held, x, None)[0] ** 2)  # noqa: E731
    return loss, {"params": {"dense": {"kernel": jnp.asarray(STACK)}}}, "params/dense/kernel", (1, 2)


def nnx_stack():
    @nnx.vmap
    def create(key):
        return nnx.Linear(4, 4, use_bias=False, param_dtype=jnp.float64, rngs=nnx.Rngs(key))

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def run(x, layer):
        return jnp.tanh(layer(x))

    model = create(jax.random.split(jax.random.key(0), 3))
    model.kernel[...] = jnp.asarray(STACK)
    return lambda model, x: jnp.sum(run(x, model) ** 2), model, lambda model: model.kernel, (1, 2)


def equinox_stack():
    stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 4, use_bias=False, key=key))(
        jax.random.split(jax.random.key(0), 3)
    )
    stack = eqx.tree_at(lambda stack: stack.weight, stack, jnp.asarray(STACK).transpose(0, 2, 1))

    def loss(stack, x):
        arrays, rest = eqx.partition(stack, eqx.is_array)
        step = lambda x, layer: (jnp.tanh(jax.vmap(eqx.combine(layer, rest))(x)), None)  # noqa: E731
        return jnp.sum(jax.lax.scan(step, x, arrays)[0] ** 2)

    return loss, stack, lambda stack: stack.weight, (2, 1)


@pytest.mark.parametrize("way", [plain_stack, linen_stack, nnx_stack, equinox_stack], ids=lambda way: way.__name__)
def test_a_layer_of_a_stack_that_is_scanned_over_has_its_own_gradient(way):
    loss, params, where, axes = way()

    def total(stack):
        return sum(plain_stack()[0]({"kernel": stack}, x) for x in jnp.asarray(X))

    @jax.jit
    def run():
        read = Matricization(*axes, batch_index=1)
        both = [gradient_products(loss, params, where, X, matricization=read, route=route) for route in ROUTES]
        return [each.forward(jnp.eye(4)) for each in both], both[1].adjoint(jnp.eye(4)).T, jax.grad(total)(STACK)[1]

    forward, back, wanted = run()
    for G in (*forward, back):
        np.testing.assert_allclose(G, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())
    with pytest.raises(ValueError, match=r"\(3, 4, 4\) is no matrix: .*uses it as Matricization.*also needs a batch_i"):
        gradient_products(loss, params, where, X)


def test_a_variable_that_nnx_shares_is_one_leaf_and_an_array_at_two_places_is_two():
    class Twice(nnx.Module):
        def __init__(self):
            self.first = nnx.Linear(4, 4, use_bias=False, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
            self.again = self.first

        def __call__(self, x):
            return self.again(jnp.tanh(self.first(x)))

    model, x = Twice(), jnp.asarray(X)
    kernel = model.first.kernel[...]

    @jax.jit
    def run():
        halves = jax.grad(lambda one, two: sum(jnp.sum((jnp.tanh(each @ one) @ two) ** 2) for each in x), (0, 1))
        loss = lambda model, x: jnp.sum(model(x) ** 2)  # noqa: E731
        found = [
            gradient_products(loss, model, where, x, route=route).forward(jnp.eye(4))
            for where in (lambda model: model.first.kernel, lambda model: model.again.kernel[...])
            for route in ROUTES
        ]
        tied = lambda held, x: jnp.sum((jnp.tanh(x @ held["one"]) @ held["two"]) ** 2)  # noqa: E731
        half = gradient_products(tied, {"one": kernel, "two": kernel}, "two", x).forward(jnp.eye(4))
        return found, half, halves(kernel, kernel)

    found, half, (one, two) = run()
    for G in found:
        np.testing.assert_allclose(G, one + two, rtol=1e-12)
    np.testing.assert_allclose(half, two, rtol=1e-12)
