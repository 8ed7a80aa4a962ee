"""The gradient in a layer's kernel, for layers of any kind and inputs of any dtype: against that of the whole network."""

import functools as ft
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import freeze

from lawlib.compress import low_rank_mlp
from lawlib.gradient_spectra import kernel_gradient_products
from lawlib.spectra import krylov_triplets

D, M, N, B = 12, 16, 10, 3


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
PLAIN = {"Dense", "called twice"}


def problem(first, dtype, scale=1.0):
    rng = np.random.default_rng(0)
    network = Net(first, dtype)
    batches = tuple(jnp.asarray(rng.standard_normal((B, N, d)), dtype) for d in (D, 5))
    variables = jax.jit(network.init)(jax.random.key(0), batches[0][0])

    def loss(variables, batch):
        return scale * jnp.sum((network.apply(variables, batch[0]) - batch[1]) ** 2) / 2

    return variables, loss, batches


def whole_gradient(loss, variables, path, batches):
    """That of all parameters at once, of the losses in a row."""
    total = lambda variables: sum(loss(variables, jax.tree.map(lambda x: x[i], batches)) for i in range(B))  # noqa: E731
    found = jax.jit(jax.grad(total))(variables)["params"]
    for name in (*path.split("/"), "kernel"):
        found = found[name]
    return np.asarray(found, np.float64)


def assert_products(products, G, size):
    rng = np.random.default_rng(1)
    V, U = (jnp.asarray(rng.standard_normal((d, 4)), products.dtype) for d in products.shape[::-1])
    forward, adjoint = jax.jit(lambda: (products.forward(V), products.adjoint(U)))()
    assert forward.dtype == products.dtype
    np.testing.assert_allclose(forward, G @ np.asarray(V, np.float64), rtol=0, atol=size * np.abs(G).max())
    np.testing.assert_allclose(adjoint, G.T @ np.asarray(U, np.float64), rtol=0, atol=size * np.abs(G).max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_parameter_whatever_becomes_of_it(kind):
    build, path = KINDS[kind]
    variables, loss, batches = problem(build(jnp.float64), jnp.float64)
    G = whole_gradient(loss, variables, path, batches)
    assert np.abs(G).max() > 0.1
    assert_products(kernel_gradient_products(loss, variables, path, batches), G, 1e-12)
    if kind in PLAIN:
        assert_products(kernel_gradient_products(loss, variables, path, batches, route="matrix_free"), G, 1e-12)
    else:
        with pytest.raises(ValueError, match=rf"the layer '{path}' is not known to be a plain.*route='parameter'"):
            kernel_gradient_products(loss, variables, path, batches, route="matrix_free")


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("route", ["parameter", "matrix_free"])
def test_the_gradient_of_least_squares_has_a_closed_form(route, scale, dtype, tol):
    # s^2 X^T (X K + b) - s X^T Y, by numpy, and its triplets by numpy's SVD.
    rng = np.random.default_rng(2)
    X, Y, K, b = (rng.standard_normal(shape) for shape in ((B, N, D), (B, N, 5), (D, 5), 5))
    layer = {1.0: nn.Dense, 0.5: Scaled}[scale](5)
    variables = {"params": {"kernel": jnp.asarray(K, dtype), "bias": jnp.asarray(b, dtype)}}
    network = nn.Sequential([layer])
    variables = {"params": {"layers_0": variables["params"]}}
    build = lambda: kernel_gradient_products(  # noqa: E731
        lambda held, batch: jnp.sum((network.apply(held, batch[0]) - batch[1]) ** 2) / 2,
        variables,
        "layers_0",
        (jnp.asarray(X, dtype), jnp.asarray(Y, dtype)),
        route=route,
    )
    if scale != 1 and route == "matrix_free":
        with pytest.raises(ValueError, match="it is a Scaled, which is no nn.Dense as it stands"):
            build()
        return
    G = sum(scale * x.T @ (scale * (x @ K + b) - y) for x, y in zip(X, Y, strict=True))
    assert_products(build(), G, tol(jnp.asarray(G, dtype)))
    L, s, Rt = np.linalg.svd(G)
    found = jax.jit(lambda: krylov_triplets(jax.random.key(0), build(), 2))()
    assert found.certified
    np.testing.assert_allclose(found.triplets.values, s[:2], rtol=tol(jnp.asarray(G, dtype)))
    for ours, exact in ((found.triplets.left, L[:, :2]), (found.triplets.right, Rt[:2].T)):
        exact_of = exact @ (exact.T @ np.asarray(ours))
        assert np.linalg.norm(np.asarray(ours) - exact_of) <= float(found.bound)


INPUTS = ["float16", "bfloat16", "int8", "uint8", "int32", "bool"]


@pytest.mark.parametrize("route", ["parameter", "matrix_free"])
@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_of_any_dtype_have_the_gradient_of_their_values(kind, route):
    variables, loss, (x, y) = problem(nn.Dense(M), jnp.float32)
    x = (3 * jnp.abs(x)).astype(kind)
    exact = jax.tree.map(lambda a: np.asarray(a, np.float64), variables)
    same = (jnp.asarray(x, jnp.float64), jnp.asarray(y, jnp.float64))
    with jax.numpy_dtype_promotion("standard"):
        G = whole_gradient(loss, exact, "first", same)
        assert np.abs(G).max() > 1
        assert_products(kernel_gradient_products(loss, variables, "first", (x, y), route=route), G, 1e-4)


@pytest.mark.parametrize("scale", [1e-8, 1e6])
@pytest.mark.parametrize("route", ["parameter", "matrix_free"])
def test_half_precision_inputs_neither_vanish_nor_overflow(scale, route):
    variables, loss, (x, y) = problem(nn.Dense(M), jnp.float32, scale)
    half = (x.astype(jnp.float16), y)
    with jax.numpy_dtype_promotion("standard"):
        found = krylov_triplets(
            jax.random.key(0), kernel_gradient_products(loss, variables, "first", half, route=route), 3
        )
        G = whole_gradient(loss, jax.tree.map(lambda a: np.asarray(a, np.float64), variables), "first", half)
    U, s, _ = np.linalg.svd(G)
    left = np.asarray(found.triplets.left, np.float64)
    np.testing.assert_allclose(found.triplets.values, s[:3], rtol=1e-5)
    assert np.linalg.norm(left - U[:, :3] @ (U[:, :3].T @ left)) <= float(found.bound) < 1e-2


def test_whole_numbers_give_low_rank_networks_the_basis_of_their_values():
    network = nn.Sequential([nn.Dense(20), nn.gelu, nn.Dense(20), nn.gelu, nn.Dense(3)])
    rng = np.random.default_rng(3)
    pixels, y = rng.integers(0, 4, (B, 30, 24)), jnp.asarray(np.eye(3)[rng.integers(0, 3, (B, 30))], jnp.float32)
    variables = network.init(jax.random.key(0), jnp.ones((1, 24), jnp.float32))

    def loss(variables, batch):
        return -jnp.mean(jnp.sum(batch[1] * jax.nn.log_softmax(network.apply(variables, batch[0])), -1))

    with jax.numpy_dtype_promotion("standard"):
        build = lambda x: low_rank_mlp(jax.random.key(1), network, variables, loss, (x, y))  # noqa: E731
        ours, exact = (
            build(jnp.asarray(pixels, kind)).variables["params"]["layers_0"] for kind in ("uint8", "float32")
        )
    np.testing.assert_allclose(ours["right"], exact["right"], atol=1e-4)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("route", ["parameter", "matrix_free"])
def test_kernels_of_half_precision_have_products_of_float32(kind, route):
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.dtype(kind)), jnp.dtype(kind))
    exact = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (variables, batches))
    G = whole_gradient(loss, exact[0], "first", exact[1])
    products = kernel_gradient_products(loss, variables, "first", batches, route=route)
    assert products.dtype == jnp.float32
    assert_products(products, G, 30 * float(jnp.finfo(kind).eps))


def test_a_kernel_that_the_layer_casts_has_a_gradient_in_its_own_dtype():
    variables, loss, batches = problem(nn.Dense(M, dtype=jnp.bfloat16), jnp.float32)
    with jax.numpy_dtype_promotion("standard"):
        G = whole_gradient(loss, variables, "first", batches)
        assert_products(kernel_gradient_products(loss, variables, "first", batches), G, 1e-4)
        with pytest.raises(ValueError, match="makes something else of its kernel: convert_element_type"):
            kernel_gradient_products(loss, variables, "first", batches, route="matrix_free")


def test_products_are_as_precise_as_the_kernel_unless_told_otherwise():
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float64), jnp.float64, scale=1e-60)
    assert_products(
        kernel_gradient_products(loss, variables, "first", batches),
        whole_gradient(loss, variables, "first", batches),
        1e-12,
    )
    with pytest.warns(
        UserWarning, match=r"largest entry of the gradient in the kernel of 'first' is 0, where float64 and"
    ):
        products = kernel_gradient_products(loss, variables, "first", batches, jnp.float32)
    assert not krylov_triplets(jax.random.key(0), products, 3).certified


@pytest.mark.parametrize(("scale", "shown"), [(1e-9, "is 0,"), (1e9, "is (inf|nan),"), (2e-7, "e-0., where float16")])
def test_a_gradient_lost_in_half_precision_is_told_and_never_certified(scale, shown):
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float16), jnp.float16)
    wide = lambda held, batch: loss(held, batch).astype(jnp.float32) * scale  # noqa: E731
    with pytest.warns(UserWarning, match=f"largest entry.*{shown}"):
        products = kernel_gradient_products(wide, variables, "first", batches)
    if scale != 2e-7:
        assert not krylov_triplets(jax.random.key(0), products, 3).certified
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel_gradient_products(loss, variables, "first", batches)


def jitted(loss):
    return jax.jit(loss)


def jitted_inside(loss):
    inner = jax.jit(loss)
    return lambda held, batch: 2 * inner(held, batch)


def penalized(loss):
    return lambda held, batch: loss(held, batch) + 0.3 * jnp.sum(held["params"]["first"]["kernel"] ** 2)


def checkpointed(loss):
    return jax.checkpoint(loss)


def mapped(loss):
    return lambda held, batch: jnp.sum(jax.vmap(lambda x, y: loss(held, (x, y)))(*batch))


@pytest.mark.parametrize("change", [jitted, jitted_inside, checkpointed, penalized, mapped])
@pytest.mark.parametrize("traced", [False, True])
def test_losses_of_all_kinds_have_their_gradient(change, traced):
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float64), jnp.float64)
    loss = change(loss)
    if traced:
        jax.eval_shape(loss, variables, tuple(x[0] for x in batches))
    G = whole_gradient(loss, variables, "first", batches)
    assert_products(kernel_gradient_products(loss, freeze(variables), "first", batches), G, 1e-12)
    free = lambda: kernel_gradient_products(loss, variables, "first", batches, route="matrix_free")  # noqa: E731
    if change is mapped:
        assert_products(free(), G, 1e-12)
        return
    with pytest.raises(
        ValueError, match={penalized: "something else of its kernel"}.get(change, "hides calls|not the var")
    ):
        free()


def test_a_penalty_is_its_own_part_of_the_gradient():
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float64), jnp.float64)
    both = [kernel_gradient_products(each, variables, "first", batches) for each in (penalized(loss), loss)]
    identity = jnp.eye(M)
    added = B * 0.6 * variables["params"]["first"]["kernel"]
    np.testing.assert_allclose(both[0].forward(identity) - both[1].forward(identity), added, atol=1e-12)


def test_under_jit_a_layer_that_is_not_plain_is_refused_all_the_same():
    for build, path in KINDS.values():
        variables, loss, batches = problem(build(jnp.float64), jnp.float64)
        program = lambda held, data: kernel_gradient_products(  # noqa: E731
            loss,
            held,
            path,
            data,
            route="matrix_free",  # noqa: B023
        ).forward(jnp.ones((M, 1)))
        if build in {KINDS[kind][0] for kind in PLAIN}:
            assert jax.eval_shape(program, variables, batches).shape == (D, 1)
        else:
            with pytest.raises(ValueError, match="is not known to be a plain"):
                jax.eval_shape(program, variables, batches)


def test_a_teacher_at_the_same_path_is_not_taken_for_the_layer():
    variables, loss, batches = problem(nn.Dense(M, param_dtype=jnp.float64), jnp.float64)
    teacher = Net(nn.Dense(M, param_dtype=jnp.float64), jnp.float64)
    of_teacher = jax.tree.map(lambda x: x + 1, variables)

    def distilled(held, batch):
        return loss(held, (batch[0], teacher.apply(of_teacher, batch[0])))

    G = whole_gradient(distilled, variables, "first", batches)
    assert_products(kernel_gradient_products(distilled, variables, "first", batches), G, 1e-12)
    hidden = jax.jit(lambda held, batch: loss(held, batch))
    jax.eval_shape(hidden, variables, tuple(x[0] for x in batches))
    behind = lambda held, batch: hidden(held, (batch[0], teacher.apply(of_teacher, batch[0])))  # noqa: E731
    for each in (distilled, behind):
        with pytest.raises(ValueError, match="a kernel that is not the variables' as it stands"):
            kernel_gradient_products(each, variables, "first", batches, route="matrix_free")
