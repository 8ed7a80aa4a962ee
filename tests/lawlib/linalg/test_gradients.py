"""The gradient in a kernel of a Flax linen network, however it is used, against that of the whole network."""

import functools as ft

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import freeze

from lawlib.compress import low_rank_mlp
from lawlib.linalg import shifted_loss
from lawlib.linalg.gradients import gradient_products
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.spectra import block_krylov_svd

D, M, N, B = 12, 16, 10, 2
ROUTES = ("parameter", "matrix_free")


@pytest.fixture(autouse=True)
def promotion():
    """Flax promotes inputs and kernels to one dtype, as nobody but this suite forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield


class Plain(nn.Dense):
    def __call__(self, x):
        return super().__call__(x)


class Scaled(nn.Dense):
    def __call__(self, x):
        return 0.5 * super().__call__(x)


class Activated(nn.Dense):
    def __call__(self, x):
        return nn.tanh(super().__call__(x))


class Masked(nn.Module):
    """A pruned layer: its kernel times a mask."""

    features: int
    param_dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features), self.param_dtype)
        return x @ jnp.where(jnp.arange(kernel.size).reshape(kernel.shape) % 3 == 0, 0, kernel)


class Around(nn.Module):
    """A layer in a room of its own, so that every kind of it has the path "first/..."."""

    features: int
    kind: str
    param_dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x):
        dense = ft.partial(nn.Dense, self.features, param_dtype=self.param_dtype, name="layer")
        if self.kind == "weight norm":
            return nn.WeightNorm(dense(), name="norm")(x)
        if self.kind == "pruned in place":
            mask = lambda held: jax.tree.map(lambda k: k * (jnp.arange(k.size).reshape(k.shape) % 2), held)  # noqa: E731
            return nn.map_variables(nn.Dense, "params", mask, init=self.is_initializing())(
                self.features, param_dtype=self.param_dtype, name="layer"
            )(x)
        if self.kind == "called twice":
            shared = dense()
            return shared(nn.tanh(shared(x)[..., :D]))
        if self.kind == "remat":
            return nn.remat(nn.Dense)(self.features, param_dtype=self.param_dtype, name="layer")(x)
        if self.kind == "tied":
            layer = dense()
            return layer(x) + layer(x) @ layer.variables["params"]["kernel"].T @ layer.variables["params"]["kernel"]
        if self.kind == "dot_general":
            return dense(dot_general=lambda *given, **options: 3 * jax.lax.dot_general(*given, **options))(x)
        if self.kind == "vmap":
            mapped = nn.vmap(nn.Dense, variable_axes={"params": None}, split_rngs={"params": False})
            return mapped(self.features, param_dtype=self.param_dtype, name="layer")(x)
        return dense()(x)


class Recurrent(nn.Module):
    """One kernel of a cell that runs three times."""

    param_dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x):
        class Cell(nn.Module):
            param_dtype: object

            @nn.compact
            def __call__(self, carry, _):
                return nn.tanh(nn.Dense(D, param_dtype=self.param_dtype, name="layer")(carry)), None

        cells = nn.scan(Cell, variable_broadcast="params", split_rngs={"params": False}, length=3)
        return cells(self.param_dtype, name="cells")(x, None)[0]


class Net(nn.Module):
    first: nn.Module
    param_dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x):
        return nn.Dense(5, param_dtype=self.param_dtype)(nn.gelu(self.first(x)))


KINDS = {
    "Dense": (lambda dtype: nn.Dense(M, param_dtype=dtype), "first"),
    "calls super": (lambda dtype: Plain(M, param_dtype=dtype), "first"),
    "scaled": (lambda dtype: Scaled(M, param_dtype=dtype), "first"),
    "activated": (lambda dtype: Activated(M, param_dtype=dtype), "first"),
    "masked": (lambda dtype: Masked(M, dtype), "first"),
    "scan": (Recurrent, "first/cells/layer"),
    **{
        kind: (lambda dtype, kind=kind: Around(M, kind, dtype), "first/layer")
        for kind in ("weight norm", "pruned in place", "called twice", "remat", "tied", "dot_general", "vmap")
    },
}
# What the kernel passes through before it is multiplied, where it is not only multiplied.
OTHERS = {"masked": "select_n", "weight norm": "mul", "pruned in place": "mul"}


def problem(first, dtype, scale=1.0):
    """Variables, a loss and batches; drawn by numpy, which compiles nothing."""
    rng = np.random.default_rng(0)
    network = Net(first, dtype)
    batches = tuple(jnp.asarray(rng.standard_normal((B, N, d)), dtype) for d in (D, 5))
    shapes = jax.eval_shape(network.init, jax.random.key(0), batches[0][0])
    variables = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape) / D**0.5, x.dtype), shapes)

    def loss(variables, batch):
        return scale * jnp.sum((network.apply(variables, batch[0]) - batch[1]) ** 2) / 2

    return variables, loss, batches


def whole_gradient(loss, variables, path, batches):
    """That of all parameters at once, of the losses in a row."""

    def total(held):
        return sum(loss(held, tuple(x[i] for x in batches)) for i in range(B))

    found = jax.grad(total)(variables)["params"]
    for key in (*path.split("/"), "kernel"):
        found = found[key]
    return found


def name(path):
    return f"params/{path}/kernel"


def wide(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def assert_products(loss, variables, path, batches, size, *, routes=("parameter",), exact=False):
    """Products by each route against the gradient of the whole, that in float64 where it is to be ``exact``."""

    @jax.jit
    def run(variables, batches, truth):
        G = whole_gradient(loss, truth[0], path, truth[1]).astype(jnp.float64)
        V, U = (jnp.sin(jnp.arange(1.0, 4 * d + 1) ** 2).reshape(d, 4) for d in G.shape[::-1])
        products = [gradient_products(loss, variables, name(path), batches, route=route) for route in routes]
        found = [(p.forward(V.astype(p.dtype)), p.adjoint(U.astype(p.dtype))) for p in products]
        return found, (G @ V, G.T @ U)

    truth = wide((variables, batches)) if exact else (variables, batches)
    found, wanted = run(variables, batches, truth)
    for products in found:
        for ours, whole in zip(products, wanted, strict=True):
            assert np.abs(whole).max() > 0
            np.testing.assert_allclose(ours, whole, rtol=0, atol=size * np.abs(whole).max())
    return found


def assert_refused(loss, variables, path, batches, message):
    """Under jit, where values are unknown."""
    free = ft.partial(gradient_products, loss, route="matrix_free")
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda held, data: free(held, name(path), data).forward(jnp.ones((M, 1))), variables, batches)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_parameter_whatever_becomes_of_it(kind):
    build, path = KINDS[kind]
    variables, loss, batches = problem(build(jnp.float64), jnp.float64)
    routes = ("parameter",) if kind in OTHERS else ("parameter", "matrix_free")
    assert_products(loss, variables, path, batches, 1e-12, routes=routes)
    if kind in OTHERS:
        message = rf"leaf '{name(path)}' is not only .* in other operations: .*{OTHERS[kind]}; use route='parameter'"
        assert_refused(loss, variables, path, batches, message)


@pytest.mark.parametrize("layer", [nn.Dense, Scaled])
def test_the_gradient_of_least_squares_has_a_closed_form(layer, dtype, tol):
    # s X^T (s (X K + b) - Y), and its triplets by numpy's SVD.
    rng = np.random.default_rng(2)
    X, Y, K, b = (rng.standard_normal(shape) for shape in ((B, N, D), (B, N, 5), (D, 5), 5))
    s = 0.5 if layer is Scaled else 1.0
    G = sum(s * x.T @ (s * (x @ K + b) - y) for x, y in zip(X, Y, strict=True))
    network = nn.Sequential([layer(5)])

    def loss(held, batch):
        return jnp.sum((network.apply(held, batch[0]) - batch[1]) ** 2) / 2

    @jax.jit
    def run(X, Y, K, b):
        held = {"params": {"layers_0": {"kernel": K, "bias": b}}}
        products = [gradient_products(loss, held, name("layers_0"), (X, Y), route=route) for route in ROUTES]
        return [p.forward(jnp.eye(5, dtype=dtype)) for p in products], block_krylov_svd(
            jax.random.key(0), products[0], 2
        )

    dense, found = run(*(jnp.asarray(x, dtype) for x in (X, Y, K, b)))
    size = tol(jnp.asarray(G, dtype))
    for each in dense:
        np.testing.assert_allclose(each, G, rtol=0, atol=size * np.abs(G).max())
    L, values, Rt = np.linalg.svd(G)
    assert found.certified
    np.testing.assert_allclose(found.svd.values, values[:2], rtol=size)
    for ours, truth in ((found.svd.left, L[:, :2]), (found.svd.right, Rt[:2].T)):
        assert np.linalg.norm(ours - truth @ (truth.T @ np.asarray(ours))) <= float(found.bound)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "uint8", "int32", "bool"])
def test_inputs_of_any_dtype_have_the_gradient_of_their_values(kind):
    variables, loss, (x, y) = problem(nn.Dense(M), jnp.float32)
    x = (3 * jnp.abs(x)).astype(kind)
    assert_products(loss, variables, "first", (x, y), 1e-4, routes=ROUTES, exact=True)


def test_half_precision_inputs_neither_vanish_nor_overflow():
    variables, loss, (x, y) = problem(nn.Dense(M), jnp.float32)
    half = (x.astype(jnp.float16), y)

    @jax.jit
    def run(scale, variables, half, truth):
        scaled = lambda held, batch: scale.astype(y.dtype) * loss(held, batch)  # noqa: E731
        build = ft.partial(gradient_products, scaled, variables, name("first"), half)
        found = [block_krylov_svd(jax.random.key(0), build(route=route), 3) for route in ROUTES]
        return found, scale * whole_gradient(loss, truth[0], "first", truth[1])

    for scale in (1e-8, 1e6):
        both, G = run(jnp.asarray(scale), variables, half, wide((variables, half)))
        U, s, _ = np.linalg.svd(G)
        for found in both:
            left = np.asarray(found.svd.left, np.float64)
            np.testing.assert_allclose(found.svd.values, s[:3], rtol=1e-5)
            assert np.linalg.norm(left - U[:, :3] @ (U[:, :3].T @ left)) <= float(found.bound) < 1e-2


def test_whole_numbers_give_low_rank_networks_the_basis_of_their_values():
    network = nn.Sequential([nn.Dense(8), nn.gelu, nn.Dense(3)])
    rng = np.random.default_rng(3)
    pixels, y = rng.integers(0, 4, (B, 30, 9)), jnp.asarray(np.eye(3)[rng.integers(0, 3, (B, 30))], jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.ones((1, 9)))
    variables = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape) / 3, jnp.float32), shapes)

    def loss(variables, batch):
        return -jnp.mean(jnp.sum(batch[1] * jax.nn.log_softmax(network.apply(variables, batch[0])), -1))

    build = jax.jit(
        lambda x: low_rank_mlp(jax.random.key(1), network, variables, loss, (x, y), num_classes=2).variables["params"]
    )
    ours, exact = (build(jnp.asarray(pixels, kind))["layers_0"]["right"] for kind in ("uint8", "float32"))
    np.testing.assert_allclose(ours, exact, atol=1e-4)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_kernels_of_half_precision_have_products_of_float32(kind):
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.dtype(kind)), jnp.dtype(kind))
    size = 30 * float(jnp.finfo(kind).eps)
    for found in assert_products(loss, variables, "first", batches, size, routes=ROUTES, exact=True):
        assert {product.dtype for product in found} == {jnp.dtype("float32")}


def test_a_kernel_that_the_layer_casts_has_a_gradient_in_its_own_dtype():
    variables, loss, batches = problem(nn.Dense(M, dtype=jnp.bfloat16), jnp.float32)
    assert_products(loss, variables, "first", batches, 1e-4)
    assert_products(loss, variables, "first", batches, 8 * float(jnp.finfo("bfloat16").eps), routes=("matrix_free",))


def test_products_are_as_precise_as_the_kernel_unless_told_otherwise():
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float64), jnp.float64, scale=1e-60)
    assert_products(loss, variables, "first", batches, 1e-12)
    with pytest.warns(
        UserWarning, match="entry of the gradient in the leaf 'params/first/kernel' is 0, where float32 resolves 1e-38"
    ):
        products = gradient_products(loss, variables, name("first"), batches, dtype=jnp.float32)
    assert not jax.jit(lambda: block_krylov_svd(jax.random.key(0), products, 3))().certified


@pytest.mark.parametrize("kinds", [{"param_dtype": jnp.float16}, {"dtype": jnp.float16}])
@pytest.mark.parametrize(("scale", "shown"), [(1e-9, "is 0, where"), (1e-6, "is .*e-0.+, where")])
def test_a_gradient_lost_in_half_precision_is_told_and_never_certified(kinds, scale, shown):
    variables, loss, batches = problem(nn.Dense(M, **kinds), jnp.float16)
    with pytest.warns(UserWarning, match=f"underflows in float16: its largest product.* {shown} float16"):
        products = gradient_products(scaled_by(loss, scale), variables, name("first"), batches)
    if scale != 1e-6:
        assert not jax.jit(lambda: block_krylov_svd(jax.random.key(0), products, 3))().certified


@pytest.mark.parametrize("route", ROUTES)
def test_a_gradient_that_overflows_is_refused_where_values_are_known(route):
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float16), jnp.float16)
    loss = scaled_by(loss, 1e9)
    with pytest.raises(ValueError, match=r"of 192 entries of the gradient in the leaf .*first/kernel' are not finite"):
        gradient_products(loss, variables, name("first"), batches, route=route)


def scaled_by(loss, scale):
    return lambda held, batch: loss(held, batch).astype(jnp.float32) * scale


def jitted_inside(loss):
    """Traced before, so that nothing in it is seen to run again."""
    inner = jax.jit(loss)
    return lambda held, batch: 2 * inner(held, batch)


def penalized(loss):
    return lambda held, batch: loss(held, batch) + 0.3 * jnp.sum(held["params"]["first"]["kernel"] ** 2)


def mapped(loss):
    return lambda held, batch: jnp.sum(jax.vmap(lambda x, y: loss(held, (x, y)))(*batch))


CHANGES = {jax.jit: None, jitted_inside: None, jax.checkpoint: None, mapped: None, penalized: "integer_pow"}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_losses_of_all_kinds_have_their_gradient(change):
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float64), jnp.float64)
    loss, other = change(loss), CHANGES[change]
    jax.eval_shape(loss, variables, tuple(x[0] for x in batches))
    assert_products(loss, freeze(variables), "first", batches, 1e-12, routes=("parameter",) if other else ROUTES)
    if other:
        assert_refused(loss, variables, "first", batches, f"in other operations: {other}")


def test_a_teacher_at_the_same_path_is_not_taken_for_the_layer():
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float64), jnp.float64)
    teacher = Net(nn.Dense(M, param_dtype=jnp.float64), jnp.float64)
    of_teacher = jax.tree.map(lambda x: x + 1, variables)
    for student in (loss, jax.jit(loss)):
        distilled = lambda held, batch: student(held, (batch[0], teacher.apply(of_teacher, batch[0])))  # noqa: B023, E731
        assert_products(distilled, variables, "first", batches, 1e-12, routes=ROUTES)


def test_two_routes_that_disagree_are_an_error_where_values_are_known(monkeypatch):
    variables, loss, batches = problem(nn.Dense(M), jnp.float32)
    build = ft.partial(gradient_products, loss, variables, name("first"), batches, route="matrix_free")
    build()
    term = shifted_loss._term
    monkeypatch.setattr(shifted_loss, "_term", lambda *given: 1.1 * term(*given))
    with pytest.raises(ValueError, match=r"two routes to the gradient in the leaf .*first/kernel' disagree.*use route"):
        build()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_plain_layer_stays_one_at_a_minimum_of_its_loss(dtype):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((1, 20, n)) for n in (10, 4))
    network = nn.Sequential([nn.Dense(4, use_bias=False)])
    held = {"params": {"layers_0": {"kernel": jnp.asarray(np.linalg.lstsq(x[0], y[0], rcond=None)[0], dtype)}}}
    loss = lambda held, batch: jnp.sum((network.apply(held, batch[0]) - batch[1]) ** 2)  # noqa: E731
    batches = (jnp.asarray(x, dtype), jnp.asarray(y, dtype))
    products = gradient_products(loss, held, name("layers_0"), batches, route="matrix_free")
    G = np.asarray(products.forward(jnp.eye(4, dtype=dtype)), "float64")
    off = 2 * x[0].T @ (x[0] @ np.asarray(held["params"]["layers_0"]["kernel"], "float64") - y[0]) - G
    assert np.abs(off).max() < 100 * jnp.finfo(dtype).eps * 20


def test_a_loss_that_is_not_a_number_is_refused_with_its_batch():
    variables, loss, (x, y) = problem(nn.Dense(M), jnp.float32)
    with pytest.raises(ValueError, match=r"the loss of batch 1 is nan and has no gradient in the leaf .*first/kernel'"):
        gradient_products(loss, variables, name("first"), (x.at[1, 0, 0].set(jnp.nan), y))
    with pytest.raises(ValueError, match="the loss of batch 0 is inf"):
        gradient_products(loss, variables, name("first"), (jnp.full_like(x, 1e30), y), route="matrix_free")
    with pytest.raises(ValueError, match=r"192 of 192 entries of the gradient in the leaf .* are not finite, though"):
        gradient_products(lambda held, batch: jnp.sqrt(0 * loss(held, batch)), variables, name("first"), (x, y))


def test_an_unknown_route_and_a_matricization_that_does_not_fit_are_refused():
    variables, loss, batches = problem(nn.Dense(M), jnp.float32)
    build = ft.partial(gradient_products, loss, variables, name("first"), batches)
    with pytest.raises(ValueError, match=r"route must be one of \('parameter', 'matrix_free'\), got 'fast'"):
        build(route="fast")
    with pytest.raises(
        ValueError, match=r"first/kernel' of shape \(12, 16\) does not fit its matricization: .* in -2\.\.1 "
    ):
        build(matricization=Matricization(0, 2))
    with pytest.raises(ValueError, match=r"first/bias' of shape \(16,\) is no matrix: pass matricization"):
        gradient_products(loss, variables, "params/first/bias", batches)


@pytest.mark.parametrize("route", ROUTES)
def test_boxes_of_linen_are_seen_through_and_the_products_read_the_other_way_are_the_transpose(route):
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float64), jnp.float64)
    boxed = jax.tree.map(lambda x: nn.Partitioned(x, (None,) * x.ndim), variables)
    where = lambda held: held["params"]["first"]["kernel"]  # noqa: E731

    @jax.jit
    def run(variables, boxed):
        read = Matricization(1, 0)
        ours = gradient_products(loss, boxed, where, batches, matricization=read, route=route)
        return ours.forward(jnp.eye(D)), ours.adjoint(jnp.eye(M)), whole_gradient(loss, variables, "first", batches)

    forward, adjoint, G = run(variables, boxed)
    np.testing.assert_allclose(forward, G.T, rtol=0, atol=1e-12 * np.abs(G).max())
    np.testing.assert_allclose(adjoint, G, rtol=0, atol=1e-12 * np.abs(G).max())
