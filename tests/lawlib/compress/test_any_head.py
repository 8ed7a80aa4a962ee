"""A low-rank head in four ways: the same factors and gradients, those of its dense form and of explicit matrices."""

import functools as ft

import equinox as eqx
import four_ways
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx
from four_ways import WAYS, kernel_of

from lawlib.compress import low_rank_head, low_rank_mlp
from lawlib.compress.head_start import layer_of
from lawlib.linalg.matricization import Matricization

CLASSES, RANK = 2, 5


def built(way, dtype, **options):
    """The low-rank head of this way, its arrays computed by one compiled program, and the loss."""
    loss, params, layers = WAYS[way](dtype)
    key, data, held = jax.random.key(1), four_ways.batches(dtype), []

    def run(data):
        if way == "linen":
            low = low_rank_mlp(key, four_ways.Linen(dtype), params, loss, data, layers=("hidden", "last"), **options)
        else:
            where = [layers[name][0] for name in ("hidden", "last")]
            low = low_rank_head(key, loss, params, data, layers=where, **options)
        held.append(low)
        return low.variables, low.losses

    variables, losses = jax.jit(run)(data)
    return held[0]._replace(variables=variables, losses=losses), loss


def factors(variables):
    """Right, inner and left of the hidden layer."""
    flat = variables["params"]["hidden"] if "params" in variables else variables
    found = {name.rpartition("/")[2]: np.asarray(x, np.float64) for name, x in flat.items()}
    return [found[name] for name in ("right", "inner", "left")]


def moved(variables):
    leaves, structure = jax.tree.flatten(variables)
    # In an order that does not depend on names.
    return structure.unflatten(
        [x + jnp.asarray(0.1 * np.cos(np.arange(x.size)).reshape(x.shape), x.dtype) for x in leaves]
    )


@pytest.fixture(scope="module")
def dense():
    """The kernels and the gradient in the hidden one, from the plain network in float64."""
    loss, params, _ = four_ways.plain("float64")
    images, targets = four_ways.batches("float64")

    def total(kernel):
        return sum(loss(params | {"hidden": kernel}, (images[i], targets[i])) for i in range(len(images)))

    return np.asarray(params["hidden"]), np.asarray(jax.jit(jax.grad(total))(params["hidden"]))


@pytest.mark.parametrize("way", WAYS)
def test_the_head_starts_in_s_big_and_its_gradients_are_those_of_its_dense_form(way, dense, dtype):
    low, loss = built(way, dtype, num_classes=CLASSES, rank=RANK)
    images, targets = four_ways.batches(dtype)
    batch, variables = (images[0], targets[0]), moved(low.variables)

    @jax.jit
    def run(variables):
        small = jax.value_and_grad(low.loss)(variables, batch)
        return small, jax.value_and_grad(lambda held: loss(low.to_dense(held), batch))(variables)

    (value, gradient), (wanted, G) = run(variables)
    size = 1000 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(value, wanted, rtol=size)
    for ours, truth in zip(jax.tree.leaves(gradient), jax.tree.leaves(G), strict=True):
        np.testing.assert_allclose(ours, truth, rtol=0, atol=size * np.abs(truth).max())
    # S_big of the dense gradient, in the convention of rows of inputs, is in the span of the first factor.
    K, gradient = dense
    L, _, Rt = np.linalg.svd(gradient)
    big = np.hstack([L[:, :CLASSES], K @ Rt[:CLASSES].T])
    V = factors(low.variables)[0]
    assert V.shape == (6, RANK)
    np.testing.assert_allclose(V.T @ V, np.eye(RANK), rtol=0, atol=size)
    np.testing.assert_allclose(V @ (V.T @ big), big, rtol=0, atol=100 * size * np.abs(big).max())


@pytest.mark.parametrize("way", ["linen", "nnx", "equinox"])
def test_the_head_is_the_same_in_four_ways(way, dtype):
    basis = jnp.asarray(np.linalg.qr(np.random.default_rng(2).standard_normal((6, 3)))[0], dtype)
    (ours, _), (plain, _) = (built(name, dtype, basis=basis) for name in (way, "plain"))
    size = 300 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(ours.losses, plain.losses, rtol=size)
    assert ours.savings == plain.savings
    for one, other in zip(factors(ours.variables), factors(plain.variables), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=size * np.abs(other).max())


@ft.cache
def truncated(way, dtype):
    return built(way, dtype, inner="truncated", num_classes=CLASSES, rank=RANK)


@pytest.mark.parametrize(
    ("way", "dtype"), [("nnx", "float64"), ("equinox", "float64"), ("plain", "float64"), ("plain", "float32")]
)
def test_a_truncated_head_keeps_its_units_as_in_linen(way, dtype):
    (ours, loss), (linen, _) = (truncated(name, dtype) for name in (way, "linen"))
    images, targets = four_ways.batches(dtype)
    batch, variables = (images[0], targets[0]), moved(ours.variables)
    size = 1000 * float(jnp.finfo(dtype).eps)
    for one, other in zip(factors(ours.variables), factors(linen.variables), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=size * np.abs(other).max())
    np.testing.assert_allclose(ours.losses, linen.losses, rtol=size)
    assert ours.savings.after.parameters == linen.savings.after.parameters
    assert ours.savings.after.head_multiply_adds == ours.savings.before.head_multiply_adds
    K = np.linalg.multi_dot(factors(variables))
    assert K.shape == (6, 7)
    dense, where, read = ours.to_dense(variables), *WAYS[way](dtype).layers["hidden"]
    found = (read or Matricization()).matrix(kernel_of(dense, where))
    np.testing.assert_allclose(found, K, rtol=0, atol=size * np.abs(K).max())
    np.testing.assert_allclose(ours.loss(variables, batch), loss(dense, batch), rtol=size)


D, M, K, N = 6, 9, 2, 7


class Net(nnx.Module):
    def __init__(self):
        kinds = {"param_dtype": jnp.float64, "rngs": nnx.Rngs(0), "bias_init": nnx.initializers.normal(1.0)}
        self.one, self.two, self.three = (nnx.Linear(*sizes, **kinds) for sizes in ((D, M), (M, M + 1), (M + 1, K)))

    def __call__(self, x):
        return self.three(jnp.sin(self.two(jnp.cos(self.one(x)))))


def in_nnx():
    return Net(), ["one/kernel", "two/kernel", "three/kernel"], lambda model, x: model(x)


def in_equinox():
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = zip(((D, M), (M, M + 1), (M + 1, K)), keys, strict=True)
    one, two, three = (eqx.nn.Linear(*size, dtype=jnp.float64, key=key) for size, key in sizes)
    model = eqx.nn.Sequential([one, eqx.nn.Lambda(jnp.cos), two, eqx.nn.Lambda(jnp.sin), three])
    where = [lambda model, i=i: model.layers[i].weight for i in (0, 2, 4)]
    return model, where, lambda model, x: jax.vmap(model)(x)


def in_a_tree():
    rng = np.random.default_rng(0)
    names = {"one": (D, M), "two": (M, M + 1), "three": (M + 1, K)}
    tree = {at: {"w": rng.standard_normal(size), "b": rng.standard_normal(size[1])} for at, size in names.items()}

    def apply(tree, x):
        one, two, three = (lambda x, held=tree[at]: x @ held["w"] + held["b"][None] for at in names)
        return three(jnp.sin(two(jnp.cos(one(x)))))

    return jax.tree.map(jnp.asarray, tree), [f"{at}/w" for at in names], apply


X = jnp.asarray(np.random.default_rng(5).standard_normal((2, N, D)))


@pytest.mark.parametrize("network", [in_nnx, in_equinox, in_a_tree], ids=lambda network: network.__name__)
def test_three_layers_with_biases_are_their_matrices(network):
    params, layers, apply = network()
    low = low_rank_head(
        jax.random.key(0), lambda params, x: jnp.sum(apply(params, x) ** 2), params, X, layers=layers, rank=4
    )
    variables = moved(low.variables)
    names = [at.rpartition("/")[0] for at in variables if at.endswith("/inner")]
    last = next(at.rpartition("/")[0] for at in variables if at.endswith("/kernel"))
    h = np.asarray(X[0])
    for name, phi in zip([*names, last], (np.cos, np.sin, lambda x: x), strict=True):
        held = layer_of(variables, name)
        for factor in ("right", "inner", "left", "kernel"):
            h = h @ np.asarray(held[factor]) if factor in held else h
        h = phi(h + np.asarray(held["bias"]))
    assert [set(layer_of(variables, name)) for name in names] == [{"right", "inner", "bias"}, {"inner", "left", "bias"}]
    np.testing.assert_allclose(apply(low.model(variables), X[0]), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(apply(low.to_dense(variables), X[0]), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(low.loss(variables, X[0]), np.sum(h**2), rtol=1e-12)
    own = D * 4 + 4 + 16 + 4 * 4 + 4 * (M + 1) + M + 1 + (M + 1) * K + K
    assert low.savings.after.parameters == sum(x.size for x in variables.values()) == own
    assert low.gradient.svd.left.shape == (D, K)


# What is refused. -----------------------------------------------------------------------------------------------------


def of_tree(change=lambda h: h):
    params, layers, _ = in_a_tree()

    def loss(params, x):
        one, two, three = (lambda x, held=params[at]: x @ held["w"] + held["b"][None] for at in ("one", "two", "three"))
        return jnp.sum(three(jnp.sin(two(change(jnp.cos(one(x)))))) ** 2)

    return loss, params, layers


def assert_refused(loss, params, layers, message, **options):
    with pytest.raises(ValueError, match=message):
        low_rank_head(jax.random.key(0), loss, params, X, layers=layers, **({"rank": 4} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "one/w"}, "two or more kernels, .* got 'one/w'"),
        ({"layers": ["one/w"]}, "two or more kernels"),
        ({"layers": ["one/w", "one/w"]}, "a head has each layer once"),
        ({"layers": ["one/w", "four/w"]}, "no leaf 'four/w'"),
        ({"layers": ["one/b", "two/w"]}, r"a kernel that is a matrix.*'one/b' has shape \(9,\)"),
        ({"layers": ["one/w", "three/w"]}, "must have as many inputs as the layer before has units"),
        ({"rank": 7}, "<= 6, the narrowest.* rank=7"),
        ({"rank": 3}, "2 num_classes <= rank.*rank=3"),
        ({"inner": "trained"}, "inner must be one of .*'truncated'\\), got 'trained'"),
        ({"inner": "truncated", "basis": jnp.eye(6, 4), "rank": None}, "a basis can be given for inner in"),
        ({"rank": 4, "num_classes": -1}, "num_classes must be a whole number of at least 0, got -1"),
        ({"basis": jnp.eye(5, 4), "rank": None}, r"d=6.*\(5, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    loss, params, layers = of_tree()
    assert_refused(loss, params, **({"layers": layers} | options), message=message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": None}, "two or more kernels, .* got None"),
        ({"rank": 4.0}, "rank must be a whole number of at least 1, got 4.0"),
        ({"basis": jnp.ones(6), "rank": None}, r"a basis of shape \(d=6, r <= 6\) .* got one of shape \(6,\)"),
    ],
)
def test_what_is_of_another_type_is_refused_in_words(options, message):
    loss, params, layers = of_tree()
    # As users run it, without the checks of types.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        assert_refused(loss, params, **({"layers": layers} | options), message=message)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_what_combines_units_is_refused():
    loss, params, layers = of_tree(change=lambda h: h - jnp.mean(h, axis=1, keepdims=True))
    assert_refused(loss, params, layers, "the losses differ by .* must act unit by unit")
    mask = jnp.ones(M)[None]

    def masked(params, x):
        h = jnp.cos(x @ params["one"]["w"] + params["one"]["b"][None]) * mask
        return jnp.sum((jnp.sin(h @ params["two"]["w"] + params["two"]["b"][None]) @ params["three"]["w"]) ** 2)

    assert_refused(masked, params, layers, "the low-rank network does not run .* for any number of units")


def test_two_arrays_that_could_be_the_bias_are_refused():
    params = {"one": jnp.ones((D, M)), "two": jnp.ones((M, K)), "b": jnp.ones(M), "c": jnp.ones(M)}
    loss = lambda params, x: jnp.sum(jnp.tanh(x @ params["one"] + params["b"][None]) @ params["two"])  # noqa: E731
    assert_refused(loss, params, ["one", "two"], r"'one' has one bias or none, and \['b', 'c'\] have the shape of one")
