"""Adapters in one network, written in four ways: against dense kernels, numpy's decompositions and merged models."""

import functools as ft
import zlib

import equinox as eqx
import flax.linen as nn
import four_ways
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from four_ways import SHAPES, WAYS, kernel_of

from lawlib.compress import adapt, with_adapters
from lawlib.compress.adapters import Adapter
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.spectra import block_krylov_svd, matrix_products

RANK, ETA = 2, 0.1
SIZES = {"conv": (8, 6), "query": (6, 6), "out": (6, 6), "hidden": (6, 7), "last": (7, 4)}


def matrices(params, layers):
    """The kernels as matrices (inputs, outputs), as every way reads them."""
    read = {name: (where, matricization or Matricization()) for name, (where, matricization) in layers.items()}
    return {name: matricization.matrix(kernel_of(params, where)) for name, (where, matricization) in read.items()}


def total(loss, *before, data):
    images, targets = data
    return sum(loss(*before, (images[i], targets[i])) for i in range(len(images)))


def drawn(start, cores=0):
    """Adapters of the same layers with factors at random, and so many small matrices between them."""
    rng, keys = np.random.default_rng(3), sorted(start)

    def normal(like):
        return jnp.asarray(rng.standard_normal(like.shape) / 2, like.dtype)

    core = lambda of: tuple(normal(jnp.swapaxes(of.left, -1, -2) @ of.left) for _ in range(cores))  # noqa: E731
    return {name: Adapter(normal(start[name].left), core(start[name]), normal(start[name].right)) for name in keys}


@pytest.fixture(scope="module")
def dense():
    """Loss and gradients as matrices, in float64, from the plain network."""
    loss, params, _ = four_ways.plain("float64")

    def of_kernels(kernels):
        return total(lambda kernels, batch: loss(params | kernels, batch), kernels, data=four_ways.batches("float64"))

    value, gradients = jax.jit(jax.value_and_grad(of_kernels))(four_ways.kernels("float64"))
    return float(value), {name: np.asarray(gradients[name]).reshape(SIZES[name]) for name in SHAPES}


# Blocks of half of the smaller side or less, so that most layers need two pairs of passes.
SEARCH = {"oversample": 1, "tolerance": 1e-3}


@pytest.fixture(scope="module")
def one_by_one(dense):
    """The triplets of the dense gradients, one layer at a time, by the keys that ``init`` gives to layers by name."""
    names = [*SIZES]

    @jax.jit
    def run(keys, gradients):
        of = lambda key, G: block_krylov_svd(key, matrix_products(G), RANK, max_passes=4, **SEARCH)  # noqa: E731
        return {name: of(keys[name], gradients[name]) for name in names}

    def found(layers, dtype):
        keys = [jax.random.fold_in(jax.random.key(0), zlib.crc32(layer.encode())) for layer in layers]
        return run(dict(zip(names, keys, strict=True)), {name: jnp.asarray(dense[1][name], dtype) for name in names})

    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_start_is_the_frozen_network_and_its_first_step_the_best_of_its_rank(way, dense, one_by_one, dtype):
    loss, params, layers = WAYS[way](dtype)
    data, names = four_ways.batches(dtype), []

    @jax.jit
    def run():
        network = adapt(loss, params, data, rank=RANK, layers=[where for where, _ in layers.values()], **SEARCH)
        adapters, found = network.init(jax.random.key(0), params, data)
        of_adapters = lambda adapters: total(network.loss, adapters, params, data=data)  # noqa: E731
        value, gradient = jax.value_and_grad(of_adapters)(adapters)
        stepped = jax.tree.map(lambda factor, G: factor - ETA * G, adapters, gradient)
        merged = matrices(network.merge(params, stepped), layers)
        change = {name: merged[name] - K for name, K in matrices(params, layers).items()}
        still = {name: each.right for name, each in gradient.items()}
        names.extend(network.layers)
        return value, total(loss, params, data=data), change, still, [found[name] for name in names]

    value, frozen, change, still, found = run()
    alone = one_by_one(names, dtype)
    size, (wanted, gradients) = 300 * float(jnp.finfo(dtype).eps), dense
    np.testing.assert_allclose([value, frozen], wanted, rtol=size)
    assert all(not np.any(each) for each in still.values())
    assert {int(ours.passes) for ours in found} == {2, 4}
    for name, ours in zip(layers, found, strict=True):
        assert ours.certified
        L, values, Rt = np.linalg.svd(gradients[name])
        best = -ETA * (L[:, :RANK] * values[:RANK]) @ Rt[:RANK]
        # The kernels are of size 1; a subspace within its tolerance gives the product up to the square of it.
        np.testing.assert_allclose(change[name], best, rtol=0, atol=max(size, 1e-5) * np.abs(gradients[name]).max())
        theirs = alone[name]
        assert ours.passes == theirs.passes
        np.testing.assert_allclose(ours.svd.values, theirs.svd.values, rtol=size)
        for side, other in ((ours.svd.left, theirs.svd.left), (ours.svd.right, theirs.svd.right)):
            np.testing.assert_allclose(np.abs(np.sum(side * other, axis=0)), 1, rtol=size)


def test_a_start_does_not_depend_on_the_other_layers():
    """One pair of passes with few columns, after which the triplets depend on the random columns."""
    params = {"first": SQUARE, "second": SQUARE.T, "last": SQUARE[:, :3]}

    def loss(params, x):
        return jnp.sum((jnp.tanh(jnp.tanh(x @ params["first"]) @ params["second"]) @ params["last"]) ** 2)

    def found(layers, key=0):
        network = adapt(loss, params, X, rank=1, layers=layers, oversample=1, max_passes=2)
        start, _ = jax.jit(network.init)(jax.random.key(key), params, X)
        return np.asarray(start["second"].right)

    alone = found(["second"])
    np.testing.assert_allclose(found(["last", "second", "first"]), alone, rtol=0, atol=1e-10)
    assert np.abs(np.abs(found(["second"], key=1)) - np.abs(alone)).max() > 1e-4


def test_layers_are_traced_and_passed_over_together():
    """Of 2 layers and of 6: the loss is traced once, with the same number of passes and of decompositions."""
    calls = []

    def loss(params, x):
        calls.append(1)
        return jnp.sum(ft.reduce(lambda x, W: jnp.tanh(x @ W), params, x) ** 2)

    def program(depth):
        params = [SQUARE] * depth
        network = adapt(loss, params, X, rank=1, oversample=1)
        calls.clear()
        jaxpr = jax.make_jaxpr(network.init)(jax.random.key(0), params, X).jaxpr
        return len(calls), [*passes_and_decompositions(jaxpr)]

    two, many = program(2), program(6)
    assert two[0] == many[0] == 1
    assert sorted(two[1]) == sorted(many[1])
    assert two[1].count("pass") == 4


def passes_and_decompositions(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan" and any(given.aval.shape == X.shape for given in equation.invars):
            yield "pass"
        elif equation.primitive.name in ("qr", "svd"):
            yield equation.primitive.name
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from passes_and_decompositions(inner)


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_and_its_gradient_are_those_of_the_merged_network(way, dtype):
    loss, params, layers = WAYS[way](dtype)
    images, targets = four_ways.batches(dtype)
    batch, layers = (images[0], targets[0]), layers if dtype == jnp.float64 else {"conv": layers["conv"]}
    network = adapt(loss, params, (images, targets), rank=RANK, layers=[where for where, _ in layers.values()])
    shapes = {name: read.shape(kernel_of(params, name)) for name, read in network.layers.items()}
    empty = {
        name: Adapter(jnp.zeros((n, RANK), dtype), (), jnp.zeros((m, RANK), dtype)) for name, (m, n) in shapes.items()
    }
    adapters = drawn(empty, cores=2)

    @jax.jit
    def run():
        free = jax.value_and_grad(network.loss)(adapters, params, batch)
        merged = jax.value_and_grad(lambda adapters: loss(network.merge(params, adapters), batch))(adapters)
        return free, merged, loss(params, batch)

    (value, gradient), (wanted, G), frozen = run()
    assert abs(wanted - frozen) > 0.001 * frozen
    size = 300 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(value, wanted, rtol=size)
    for ours, truth in zip(jax.tree.leaves(gradient), jax.tree.leaves(G), strict=True):
        np.testing.assert_allclose(ours, truth, rtol=0, atol=size * np.abs(truth).max())


X = jnp.asarray(np.random.default_rng(4).standard_normal((2, 5, 4)))
SQUARE = jnp.asarray(np.random.default_rng(5).standard_normal((4, 4)))


def plain_loss(params, x):
    return jnp.sum(jnp.tanh(x @ params["first"]) @ params["last"])


PLAIN = {"first": SQUARE, "last": SQUARE[:, :3], "count": jnp.arange(3), "stack": jnp.stack([SQUARE, SQUARE])}


def start(params, names, k=RANK):
    return drawn(
        {name: Adapter(jnp.zeros((params[name].shape[1], k)), (), jnp.zeros((len(params[name]), k))) for name in names}
    )


def scanned(params, x):
    return jnp.sum(jax.lax.scan(lambda x, W: (jnp.tanh(x @ W), None), x, params["stack"])[0] ** 2)


def ensemble(params, x):
    return jnp.sum(jax.vmap(lambda W: jnp.tanh(x @ W), in_axes=1)(jnp.moveaxis(params["stack"], 0, 1)) ** 2)


def test_one_layer_of_a_stack_is_adapted_and_the_others_stay():
    network = adapt(scanned, PLAIN, X, rank=RANK, layers={"stack": Matricization(1, 2, 1)})
    adapters = {"stack": start({"stack": SQUARE}, ["stack"])["stack"]}
    merged = network.merge(PLAIN, adapters)
    by_hand = SQUARE + adapters["stack"].right @ adapters["stack"].left.T
    np.testing.assert_allclose(merged["stack"], np.stack([SQUARE, by_hand]), rtol=1e-13)
    np.testing.assert_allclose(network.loss(adapters, PLAIN, X[0]), scanned(merged, X[0]), rtol=1e-13)


@pytest.mark.parametrize("loss", [scanned, ensemble])
def test_a_whole_stack_has_an_adapter_for_each_of_its_layers(loss):
    network = adapt(loss, PLAIN, X, rank=RANK, layers={"stack": Matricization(1, 2)})
    assert loss is ensemble or adapt(loss, PLAIN, X, rank=RANK).layers == network.layers

    @jax.jit
    def run():
        adapters, found = network.init(jax.random.key(0), PLAIN, X)
        gradient = jax.grad(lambda stack: sum(loss({"stack": stack}, x) for x in X))(PLAIN["stack"])
        other = drawn(adapters, cores=1)["stack"]
        merged = network.merge(PLAIN, {"stack": other})
        values = network.loss(adapters, PLAIN, X[0]), network.loss({"stack": other}, PLAIN, X[0])
        return adapters["stack"], found["stack"], gradient, other, merged["stack"], values, loss(merged, X[0])

    adapter, found, gradient, other, merged, (value, changed), wanted = run()
    assert adapter.left.shape == adapter.right.shape == (2, 4, RANK)
    for layer in (0, 1):
        L, values, _ = np.linalg.svd(gradient[layer])
        np.testing.assert_allclose(found.svd.values[layer], values[:RANK], rtol=1e-10)
        np.testing.assert_allclose(
            adapter.right[layer] @ adapter.right[layer].T, L[:, :RANK] @ L[:, :RANK].T, atol=1e-7
        )
        by_hand = SQUARE + (other.left[layer] @ other.core[0][layer] @ other.right[layer].T).T
        np.testing.assert_allclose(merged[layer], by_hand, rtol=0, atol=1e-13)
    np.testing.assert_allclose(value, loss(PLAIN, X[0]), rtol=1e-13)
    np.testing.assert_allclose(changed, wanted, rtol=1e-12)
    with pytest.raises(ValueError, match=r"'stack', a kernel \(4, 4\), must have factors \[\(2, 4, 2\), "):
        network.merge(PLAIN, {"stack": jax.tree.map(lambda x: x[0], adapter)})


def test_predictions_have_the_adapters_too_on_any_number_of_samples():
    network = adapt(plain_loss, PLAIN, X, rank=RANK)
    assert set(network.layers) == {"first", "last"}
    adapters = start(PLAIN, network.layers)

    def outputs(params, x):
        hidden = jnp.tanh(x @ params["first"])
        return {"hidden": hidden, "scores": hidden @ params["last"], "same": x}

    found = jax.jit(with_adapters(outputs, network.layers))(adapters, PLAIN, X[0, :3])
    wanted = outputs(network.merge(PLAIN, adapters), X[0, :3])
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-13)


def test_half_precision_kernels_have_wide_factors_and_stay_half():
    params = {"first": SQUARE.astype("bfloat16"), "last": SQUARE[:, :3].astype("bfloat16")}
    data = X.astype("bfloat16")
    network = adapt(plain_loss, params, data, rank=RANK)
    adapters, _ = jax.jit(network.init)(jax.random.key(0), params, data)
    assert {factor.dtype for factor in jax.tree.leaves(adapters)} == {jnp.dtype("float32")}
    assert network.loss(adapters, params, data[0]) == plain_loss(params, data[0])
    merged = network.merge(params, adapters)
    assert jax.tree.map(lambda W: W.dtype.name, merged) == {"first": "bfloat16", "last": "bfloat16"}
    assert all(np.array_equal(merged[name], params[name]) for name in params)


class WithState(nnx.Module):
    """With running averages, a counter and a key."""

    def __init__(self):
        rngs = nnx.Rngs(0, dropout=1)
        self.layer, self.norm, self.dropout = (
            nnx.Linear(4, 3, rngs=rngs),
            nnx.BatchNorm(3, rngs=rngs),
            nnx.Dropout(0.5, rngs=rngs),
        )

    def __call__(self, x):
        return self.dropout(self.norm(self.layer(x)))


def test_what_is_no_weight_of_a_model_is_left_alone():
    loss, model, data = lambda model, x: jnp.sum(model(x) ** 2), WithState(), X.astype("float32")
    network = adapt(loss, model, data, rank=1, layers=["layer/kernel"])
    (name,) = network.layers
    adapters = {name: Adapter(jnp.ones((3, 1), "float32"), (), jnp.ones((4, 1), "float32"))}
    merged = network.merge(model, adapters)
    found = network.loss(adapters, model, data[0])
    np.testing.assert_array_equal(model.norm.mean[...], jnp.zeros(3))
    np.testing.assert_allclose(found, loss(merged, data[0]), rtol=1e-4)


def test_a_merged_nnx_model_is_a_new_one():
    model = nnx.Linear(4, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    network = adapt(lambda model, x: jnp.sum(model(x) ** 2), model, X, rank=1, layers=[lambda model: model.kernel])
    before, (name,) = np.asarray(model.kernel[...]), network.layers
    adapters = {name: Adapter(jnp.ones((3, 1)), (), jnp.ones((4, 1)))}
    merged = network.merge(model, adapters)
    assert isinstance(merged, nnx.Linear)
    np.testing.assert_array_equal(model.kernel[...], before)
    np.testing.assert_allclose(merged.kernel[...], before + 1)


def test_a_large_layer_starts_without_an_array_of_its_size():
    """XLA's own count of the temporaries, against a kernel of 4096 x 4096 in float32."""
    d, K, rank = 4096, 10, 16
    shapes = {"kernel": (d, d), "head": (d, K)}
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    data = jax.ShapeDtypeStruct((16, 32, d), jnp.float32), jax.ShapeDtypeStruct((16, 32, K), jnp.float32)

    def loss(params, batch):
        return four_ways.squared(jnp.tanh(batch[0] @ params["kernel"]) @ params["head"], batch[1])

    def begin(key, params, data):
        return adapt(loss, params, data, rank=rank, layers=["kernel"]).init(key, params, data)

    memory = jax.jit(begin).lower(jax.random.key(0), params, data).compile().memory_analysis()
    assert memory.temp_size_in_bytes <= 0.1 * d * d * 4


# What is refused. -----------------------------------------------------------------------------------------------------


def using(function):
    return lambda params, x: plain_loss(params, x) + function(params, x)


NO_PRODUCTS = {
    "penalty": (lambda params, x: jnp.sum(jnp.sin(params["first"])), "'first': the loss uses it in other op.*: sin"),
    "mask": (lambda params, x: jnp.sum(x @ (params["first"] * SQUARE)), "'first': .*other operations: mul"),
    "lookup": (lambda params, x: jnp.sum(params["first"][jnp.asarray([0, 1])]), "'first': .*other operations: gather"),
    "itself": (lambda params, x: jnp.sum(params["first"] @ params["first"]), "'first': a product takes two kernels"),
    "another": (
        lambda params, x: jnp.sum(params["first"] @ params["last"]),
        "'first': a product takes two .*; 'last': a product",
    ),
}


@pytest.mark.parametrize("use", NO_PRODUCTS)
def test_a_kernel_that_is_not_only_multiplied_by_is_refused_with_the_reason(use):
    function, message = NO_PRODUCTS[use]
    with pytest.raises(ValueError, match=rf"only multiplied by; name other layers than {message}"):
        adapt(using(function), PLAIN, X, rank=RANK, layers=["first", "last"])
    predict = with_adapters(function, {"first": Matricization(), "last": Matricization()})
    with pytest.raises(ValueError, match=message):
        predict(start(PLAIN, ["first", "last"]), PLAIN, X[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 4}, r"at most the smaller side .* rank=4 and \{'last': \(4, 3\)\}: name other layers"),
        (
            {"rank": 0, "scale": -1.0},
            "rank must be a whole number of at least 1, got 0; scale must be .*above 0, got -1",
        ),
        ({"layers": []}, r"one layer or more; the loss multiplies by the arrays \['first', 'last'\]"),
        ({"layers": "first"}, "layers must be a list of names or functions, .* got 'first'"),
        (
            {"layers": ["first", "last", lambda params: params["first"]]},
            r"one adapter, and \['first'\] are named more than once: name them once",
        ),
        ({"layers": ["last", "first", "last"]}, r"one adapter, and \['last'\] are named more than once"),
        ({"layers": ["count"]}, "the leaf 'count' must have a real floating dtype, got int"),
        ({"layers": ["second"]}, r"no leaf 'second': they have \['count', 'first', 'last', 'stack'\]"),
        ({"layers": ["stack"]}, r"'stack' of shape \(2, 4, 4\) is no matrix: pass layers=.*, how to read"),
        ({"layers": {"first": Matricization(0, 2)}}, "'first' of shape .* does not fit its matricization"),
        ({"layers": {"stack": Matricization(1, 2, 5)}}, "'stack' of shape .* a stack of 2 matrices: batch_index"),
        ({"layers": {"stack": Matricization(1, 2, 0)}}, "'stack': the loss does not use it"),
    ],
)
def test_bad_layers_and_ranks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        adapt(plain_loss, PLAIN, X, **({"rank": RANK} | options))


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_another_kind_are_refused_at_once():
    message = (
        "rank must be a whole number of at least 1, got True; scale must be finite and above 0, got nan; "
        "oversample must be a whole number of at least 1, got 2.5; max_passes must be a whole number of at least 2, "
        "got 2.5; tolerance must be finite and above 0, got 0"
    )
    options = {"rank": True, "scale": np.nan, "oversample": 2.5, "max_passes": 2.5, "tolerance": 0}
    with pytest.raises(ValueError, match=f"^{message}$"):
        adapt(plain_loss, PLAIN, X, **options)


# The outputs of two layers that are mapped over, in four ways. -------------------------------------------------------


def plain_pair():
    outputs = lambda stack, x: jax.vmap(lambda W: jnp.tanh(x @ W))(stack["kernel"])  # noqa: E731
    return outputs, {"kernel": PLAIN["stack"]}, "kernel", (1, 2)


def linen_pair():
    mapped = nn.vmap(nn.Dense, in_axes=None, variable_axes={"params": 0}, split_rngs={"params": True}, axis_size=2)
    layers = mapped(4, use_bias=False, param_dtype=jnp.float64)
    outputs = lambda held, x: jnp.tanh(layers.apply(held, x))  # noqa: E731
    return outputs, {"params": {"kernel": PLAIN["stack"]}}, "params/kernel", (1, 2)


def nnx_pair():
    @nnx.vmap
    def create(key):
        return nnx.Linear(4, 4, use_bias=False, param_dtype=jnp.float64, rngs=nnx.Rngs(key))

    model = create(jax.random.split(jax.random.key(0), 2))
    run = nnx.vmap(lambda layer, x: jnp.tanh(layer(x)), in_axes=(0, None))
    return run, model, lambda model: model.kernel, (1, 2)


def equinox_pair():
    keys = jax.random.split(jax.random.key(0), 2)
    stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 4, use_bias=False, dtype=jnp.float64, key=key))(keys)
    run = eqx.filter_vmap(lambda layer, x: jnp.tanh(jax.vmap(layer)(x)), in_axes=(eqx.if_array(0), None))
    return run, stack, lambda stack: stack.weight, (2, 1)


VMAPPED = {"plain": plain_pair, "linen": linen_pair, "nnx": nnx_pair, "equinox": equinox_pair}


@pytest.mark.parametrize("way", VMAPPED)
def test_a_dead_kernel_of_a_stack_is_named_by_its_index(way):
    outputs, params, where, axes = VMAPPED[way]()
    network = adapt(
        lambda params, x: jnp.sum(outputs(params, x)[0] ** 2), params, X, rank=1, layers={where: Matricization(*axes)}
    )
    (name,) = network.layers
    with pytest.warns(UserWarning, match=rf"gradient in the kernels \['{name}\[1\]'\] is 0, and their adapters"):
        _, found = network.init(jax.random.key(0), params, X)
    assert found[name].certified.tolist() == [True, False]


@pytest.mark.parametrize("way", VMAPPED)
def test_a_kernel_of_a_stack_whose_gradient_is_not_finite_is_named_by_its_index(way):
    outputs, params, where, axes = VMAPPED[way]()
    data = X.at[1].set(0)

    def loss(params, x):
        first, second = outputs(params, x)
        return jnp.sum(first**2) + jnp.sum(jnp.sqrt(jnp.abs(second)))

    network = adapt(loss, params, data, rank=1, layers={where: Matricization(*axes)})
    (name,) = network.layers
    with pytest.raises(ValueError, match=rf"gradient in the kernels \['{name}\[1\]'\] is not finite"):
        network.init(jax.random.key(0), params, data)
    with pytest.raises(ValueError, match=rf"^16 of 16 entries of the gradient in the leaf '{name}\[1\]' are not"):
        network.init(jax.random.key(0), params, data[::-1])


def test_a_gradient_of_0_is_warned_of_by_name():
    params = {"first": SQUARE, "last": 0 * SQUARE[:, :3]}
    network = adapt(plain_loss, params, X, rank=1)
    with pytest.warns(UserWarning, match=r"the gradient in the kernels \['first'\] is 0, .* arbitrary directions"):
        start, found = network.init(jax.random.key(0), params, X)
    assert [bool(found[name].certified) for name in ("first", "last")] == [False, True]
    assert np.all(np.isfinite(start["first"].right))


def test_a_gradient_that_is_not_finite_in_a_later_batch_is_refused_by_name():
    network = adapt(plain_loss, PLAIN, X, rank=1)
    with pytest.raises(ValueError, match=r"gradient in the kernels \['first', 'last'\] is not finite: check the data"):
        network.init(jax.random.key(0), PLAIN, X.at[1, 0, 0].set(jnp.nan))


def test_a_network_without_products_has_no_layer():
    with pytest.raises(ValueError, match=r"one layer or more; the loss multiplies by the arrays \[\]"):
        adapt(lambda params, x: jnp.sum(x * params["last"][:, 0][None]), PLAIN, X, rank=1)


GOOD = start(PLAIN, ["first", "last"])


@pytest.mark.parametrize(
    ("params", "adapters", "message"),
    [
        (PLAIN, {"first": GOOD["first"]}, r"layers are \['first', 'last'\], got adapters \['first'\]: they belong to"),
        (PLAIN, GOOD | {"other": GOOD["last"]}, r"got adapters \['first', 'last', 'other'\]"),
        (PLAIN, GOOD["first"], r"got adapters Adapter"),
        (PLAIN, GOOD | {"first": SQUARE}, "'first' needs an Adapter, got ArrayImpl"),
        (PLAIN, GOOD | {"last": GOOD["first"]}, r"'last', a kernel \(4, 3\), .*\[\(3, 2\), \(4, 2\)\], got \[\(4, 2\)"),
        (PLAIN, start(PLAIN, GOOD) | {"first": GOOD["first"]._replace(core=(SQUARE,))}, r"got \[\(4, 2\), \(4, 4\), "),
        (PLAIN, GOOD | {"first": Adapter(1.0, (), 2.0)}, r"'first', a kernel \(4, 4\), must have factors"),
        ({"first": SQUARE}, GOOD, r"no array 'last', which has an adapter; they have \['first'\]"),
        (PLAIN | {"last": SQUARE[0]}, GOOD, "'last' is not the one that was adapted: a matricization needs"),
    ],
)
def test_adapters_of_another_network_are_refused(params, adapters, message):
    network = adapt(plain_loss, PLAIN, X, rank=RANK)
    for use in (lambda: network.merge(params, adapters), lambda: network.loss(adapters, params, X[0])):
        with pytest.raises(ValueError, match=message):
            use()
