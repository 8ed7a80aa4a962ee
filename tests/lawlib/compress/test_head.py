"""The low-rank form of a Flax network's head, against explicit matrices, dense gradients and the network itself."""

import functools as ft
import types

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from flax.core import FrozenDict, freeze

from lawlib.compress import low_rank_mlp

D, M, K, N = 12, 16, 3, 10
PHI = {"gelu": ft.partial(nn.gelu, approximate=False), "relu": nn.relu, "cos": jnp.cos, "linear": lambda x: x}
ACTIVATED = {
    "gelu": lambda x: x * (1 + scipy.special.erf(x / 2**0.5)) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "cos": np.cos,
}


class Net(nn.Module):
    """Dense layers of the widths given; no biases where ``bias`` is not."""

    widths: tuple = (M, M, K)
    phi: str = "gelu"
    bias: bool = True

    @nn.compact
    def __call__(self, x):
        for layer, width in enumerate(self.widths):
            x = nn.Dense(width, self.bias)(x)
            x = PHI[self.phi](x) if layer < len(self.widths) - 1 else x
        return x


class After(nn.Module):
    """A convolution, and an MLP head with dropout or with ``between`` in its own room."""

    between: nn.Module | None = None

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (3, 3))(x)).reshape(len(x), -1)
        dense = [nn.Dense(n, name=f"head_{n}") for n in (17, 14, 4)]
        x = nn.gelu(dense[0](x))
        x = nn.Dropout(0.5, deterministic=True)(x)
        x = x if self.between is None else self.between(x)
        return dense[2](nn.gelu(dense[1](x)))


def problem(network, dtype="float64", shape=(D,), outputs=K):
    """Variables with biases that are not 0, a loss, two batches; drawn by numpy, which compiles nothing."""
    rng = np.random.default_rng(0)
    batches = tuple(jnp.asarray(rng.standard_normal((2, N, *sizes)), dtype) for sizes in (shape, (outputs,)))
    shapes = jax.eval_shape(network.init, jax.random.key(0), batches[0][0].astype("float32"))
    fan_in = {path: np.prod(x.shape[:-1]) if x.ndim > 1 else 25 for path, x in jax.tree.leaves_with_path(shapes)}
    draw = lambda path, x: jnp.asarray(rng.standard_normal(x.shape) / fan_in[path] ** 0.5, dtype)  # noqa: E731
    variables = jax.tree.map_with_path(draw, shapes)
    return variables, lambda v, batch: jnp.sum((network.apply(v, batch[0]) - batch[1]) ** 2) / 2, batches


def basis(dtype="float64", r=2 * K):
    return jnp.asarray(np.linalg.qr(np.random.default_rng(3).standard_normal((D, r)))[0], dtype)


def built(network, variables, loss, batches, **options):
    """The low-rank network, its arrays computed by one compiled program."""
    held = []

    def run(variables, batches):
        held.append(low_rank_mlp(jax.random.key(1), network, variables, loss, batches, **options))
        return held[0].variables, held[0].gradient, held[0].big

    variables, gradient, big = jax.jit(run)(variables, batches)
    return held[0]._replace(variables=variables, gradient=gradient, big=big)


def moved(variables):
    """As if trained: every entry somewhere else."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: x + jnp.asarray(0.3 * rng.standard_normal(x.shape), x.dtype), variables)


def matrices(variables):
    """The layers' parameters in order, as numpy arrays."""
    params = variables["params"]
    return [{name: np.asarray(x) for name, x in params[path].items()} for path in sorted(params)]


def sine(U, V):
    """The largest sine between the spans of U and of V."""
    Q, P = np.linalg.qr(U)[0], np.linalg.qr(V)[0]
    return np.linalg.norm(P - Q @ (Q.T @ P), 2)


def test_the_basis_is_that_of_the_dense_gradient():
    network, dtype = Net(), jnp.dtype("float32")
    variables, loss, batches = problem(network, dtype)
    low = built(network, variables, loss, batches, rank=8)
    total = jax.jit(jax.grad(lambda v: sum(loss(v, tuple(x[i] for x in batches)) for i in range(2))))
    G = np.asarray(total(variables)["params"]["Dense_0"]["kernel"], np.float64).T
    W = np.asarray(variables["params"]["Dense_0"]["kernel"], np.float64).T
    L, s, Rt = np.linalg.svd(G)
    right = np.asarray(low.variables["params"]["Dense_0"]["right"], np.float64)
    size = 1e3 * np.finfo(dtype).eps
    assert low.gradient.certified
    np.testing.assert_allclose(low.gradient.svd.values, s[:K], rtol=size)
    assert right.shape == (D, 8)
    assert np.abs(right.T @ right - np.eye(8)).max() < size
    error = float(low.gradient.bound) + size * s[0] / (s[K - 1] - s[K])
    assert sine(right[:, : 2 * K], np.hstack([Rt[:K].T, W.T @ L[:, :K]])) < 10 * error / float(low.big.kept)


def test_a_subspace_that_is_not_determined_says_so():
    # With one sample the gradient has rank 1, and a second pair of directions is arbitrary.
    network = Net()
    variables, loss, batches = problem(network)
    low = built(network, variables, loss, tuple(x[:1, :1] for x in batches), num_classes=2, rank=4)
    assert not low.gradient.certified
    assert low.gradient.gap < 1e-10


@pytest.mark.parametrize("widths", [(M, K), (M, M, 13, K)], ids=["L2", "L4"])
def test_the_bases_are_carried_through_the_hidden_layers(widths):
    network = Net(widths)
    variables, *rest = problem(network)
    before, after = matrices(variables), matrices(built(network, variables, *rest, basis=basis()).variables)
    B = after[0]["right"]
    for was, now in zip(before[:-1], after[:-1], strict=True):
        Q, R = np.linalg.qr(was["kernel"].T @ B)
        signs = np.sign(np.diag(R))
        B = Q * signs
        np.testing.assert_allclose(now["inner"], (signs[:, None] * R).T, atol=1e-12)
        np.testing.assert_allclose(now["bias"], was["bias"] if "left" in now else B.T @ was["bias"], atol=1e-12)
    np.testing.assert_allclose(after[-2]["left"], B.T, atol=1e-12)
    assert [set(layer) for layer in after[1:-2]] == [{"inner", "bias"}] * (len(widths) - 3)
    np.testing.assert_array_equal(after[-1]["kernel"], before[-1]["kernel"])
    np.testing.assert_array_equal(after[-1]["bias"], before[-1]["bias"])


def test_eps_orthogonal_weights_become_eps_times_the_identity():
    network = Net((D, D, D, K), bias=False)
    variables, *rest = problem(network)
    scaled = jax.tree.map(lambda x: jnp.asarray(0.3 * np.linalg.qr(x)[0]), variables)
    before, after = matrices(scaled), matrices(built(network, scaled, *rest, basis=basis()).variables)
    for layer in after[:-1]:
        np.testing.assert_allclose(layer["inner"], 0.3 * np.eye(2 * K), atol=1e-13)
    carried = before[2]["kernel"].T @ before[1]["kernel"].T @ before[0]["kernel"].T @ after[0]["right"] / 0.3**3
    np.testing.assert_allclose(after[2]["left"], carried.T, atol=1e-12)


def test_linear_units_in_the_basis_are_the_whole_network(dtype):
    network = Net((M, 14, K), phi="linear", bias=False)
    variables, loss, batches = problem(network, dtype)
    low = built(network, variables, loss, batches, basis=basis(dtype))
    x = np.asarray(batches[0][0])
    inside = x @ basis(dtype) @ basis(dtype).T
    both = jax.jit(lambda x: (low.apply(low.variables, x), network.apply(variables, x)))
    small, whole = both(inside)
    np.testing.assert_allclose(small, whole, rtol=0, atol=1e3 * np.finfo(dtype).eps)
    small, whole = both(x)
    assert np.abs(np.asarray(small) - np.asarray(whole)).max() > 0.01


def test_drawn_inner_layers_have_the_layers_scale():
    network = Net((M, 13, K))
    variables, *rest = problem(network)
    before, after = (
        matrices(variables),
        matrices(built(network, variables, *rest, inner="drawn", basis=basis()).variables),
    )
    for was, now in zip(before[:-1], after[:-1], strict=True):
        scale = np.linalg.norm(was["kernel"]) / np.sqrt(min(was["kernel"].shape))
        np.testing.assert_allclose(now["inner"] @ now["inner"].T, scale**2 * np.eye(2 * K), atol=1e-12)
    first, second = (layer["inner"] / np.linalg.norm(layer["inner"]) for layer in after[:-1])
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize(
    ("widths", "phi", "bias", "dtype"),
    [
        ((M, K), "gelu", True, "float64"),
        ((M, 14, K), "relu", True, "float32"),
        ((M, 14, 13, K), "cos", True, "float64"),
        ((M, 14, K), "cos", False, "float64"),
    ],
)
def test_the_network_is_its_matrices_and_its_dense_equal(widths, phi, bias, dtype):
    network = Net(widths, phi, bias)
    variables, loss, batches = problem(network, dtype)
    low = built(network, variables, loss, batches, basis=basis(dtype))
    trained, batch = moved(low.variables), tuple(x[0] for x in batches)
    h = np.asarray(batch[0], np.float64)
    for layer in matrices(trained):
        for name in ("right", "inner", "left", "kernel"):
            h = h @ layer[name].astype(np.float64) if name in layer else h
        h = h + layer.get("bias", 0.0)
        h = h if "kernel" in layer else ACTIVATED[phi](h)

    @jax.jit
    def run(trained):
        dense = low.to_dense(trained)
        return low.apply(trained, batch[0]), low.loss(trained, batch), dense, network.apply(dense, batch[0])

    small, value, dense, whole = run(trained)
    size = 1e3 * np.finfo(dtype).eps * np.abs(h).max()
    assert jax.tree.map(jnp.shape, dense) == jax.tree.map(jnp.shape, variables)
    assert jax.tree.leaves(dense)[0].dtype == small.dtype == dtype
    np.testing.assert_allclose(small, h, rtol=0, atol=size)
    np.testing.assert_allclose(whole, h, rtol=0, atol=size)
    assert abs(float(value) - np.sum((h - np.asarray(batch[1])) ** 2) / 2) < size * h.size * np.abs(h).max()


def test_a_head_behind_a_convolution_is_found_and_led_back():
    network = After()
    variables, loss, batches = problem(network, shape=(4, 4, 2), outputs=4)
    build = ft.partial(built, network, variables, loss, batches)
    low = build(basis=jnp.asarray(np.linalg.qr(np.random.default_rng(3).standard_normal((48, 6)))[0]))
    assert set(low.variables["params"]["head_17"]) == {"right", "inner", "bias"}
    trained, x = moved(low.variables), batches[0][0]
    dense = low.to_dense(trained)
    small, whole = jax.jit(lambda x: (low.apply(trained, x), network.apply(dense, x)))(x)
    np.testing.assert_allclose(small, whole, rtol=0, atol=1e-11)
    assert np.abs(whole).max() > 1
    np.testing.assert_array_equal(trained["params"]["Conv_0"]["kernel"], dense["params"]["Conv_0"]["kernel"])
    later = build(layers=("head_14", "head_4"), basis=jnp.eye(17, 5)).variables["params"]["head_14"]
    shapes = {"right": (17, 5), "inner": (5, 5), "left": (5, 14), "bias": (14,)}
    assert jax.tree.map(jnp.shape, later) == shapes


def test_the_savings_are_those_of_the_shapes():
    network = After()
    variables, loss, batches = problem(network, "float32", shape=(4, 4, 2), outputs=4)
    low = built(network, variables, loss, batches, basis=jnp.eye(48, 6, dtype=jnp.float32))
    before, after = low.savings
    conv = 3 * 3 * 2 * 3 + 3
    multiply_adds = 48 * 17 + 17 * 14 + 14 * 4, 48 * 6 + 6 * 6 + 6 * 6 + 6 * 14 + 14 * 4
    assert (before.head_multiply_adds, after.head_multiply_adds) == multiply_adds
    assert before.head_parameters == multiply_adds[0] + 17 + 14 + 4
    assert after.head_parameters == multiply_adds[1] + 6 + 14 + 4
    assert before.parameters - before.head_parameters == after.parameters - after.head_parameters == conv
    adam = jax.eval_shape(optax.adam(1e-3).init, low.variables["params"])[0]
    held = jax.tree.leaves((adam.mu, adam.nu))
    assert after.optimizer_bytes(2) == sum(x.size * x.dtype.itemsize for x in held)


def test_any_optimizer_trains_it():
    network = Net()
    variables, loss, batches = problem(network)
    low = built(network, variables, loss, batches, basis=basis())
    batch, optimizer = tuple(x[0] for x in batches), optax.sgd(2e-3, momentum=0.9)

    @jax.jit
    def run(variables):
        def step(_, at):
            updates, state = optimizer.update(jax.grad(low.loss)(at[0], batch), at[1])
            return optax.apply_updates(at[0], updates), state

        trained = jax.lax.fori_loop(0, 300, step, (variables, optimizer.init(variables)))[0]
        return trained, low.loss(trained, batch) / low.loss(variables, batch)

    trained, ratio = run(low.variables)
    assert ratio < 0.2
    changed = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), trained, low.variables)
    assert min(jax.tree.leaves(changed)) > 1e-3


def test_a_basis_from_elsewhere_takes_the_place_of_s_big():
    network, given = Net(), basis(r=5)
    low = built(network, *problem(network), basis=given)
    np.testing.assert_array_equal(low.variables["params"]["Dense_0"]["right"], given)
    assert low.gradient is None
    assert low.big is None
    assert low.variables["params"]["Dense_1"]["inner"].shape == (5, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 5}, "2 num_classes <= rank <= 12.*num_classes=3 and rank=5"),
        ({"rank": 13}, "<= 12, the narrowest.*rank=13"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"inner": "zeros"}, "transported.*'zeros'"),
        ({"layers": ("Dense_1", "Dense_0")}, "in the order.*Dense_1.*Dense_0"),
        ({"layers": ("Dense_2",)}, "two or more nn.Dense"),
        ({"layers": ("Dense_0", "Dense_7")}, "kernel in the variables.*Dense_2.*Dense_7"),
        ({"layers": "Dense_0"}, "layers must be paths.*got 'Dense_0'"),
        ({"layers": ("Dense_0", "Dense_2")}, "unit by unit.*Dense at 'Dense_1'"),
        ({"basis": jnp.eye(D, 5), "rank": 4}, "replaces num_classes and rank.*rank=4"),
        ({"basis": jnp.eye(D + 1, 5)}, r"d=12.*\(13, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        built(Net(), *problem(Net()), **options)


class Twice(nn.Module):
    """One square layer run two times, and a last one."""

    @nn.compact
    def __call__(self, x):
        shared = nn.Dense(D)
        return nn.Dense(K)(nn.gelu(shared(nn.gelu(shared(x)))))


def test_a_layer_that_runs_twice_is_refused():
    with pytest.raises(ValueError, match="each run once"):
        built(Twice(), *problem(Twice()))


@pytest.mark.parametrize("between", [nn.LayerNorm(), nn.RMSNorm(use_scale=False)])
def test_a_normalization_between_the_layers_is_refused(between):
    network = After(between)
    variables, loss, batches = problem(network, "float32", shape=(4, 4, 2), outputs=4)
    with pytest.raises(ValueError, match=f"unit by unit.*{type(between).__name__} at 'between'"):
        built(network, variables, loss, batches)


def test_dense_variables_and_a_hidden_loss_are_told_apart():
    variables, loss, batches = problem(Net())
    low = built(Net(), variables, loss, batches, basis=basis())
    with pytest.raises(ValueError, match=r"'Dense_0' holds \['bias', 'kernel'\], not 'inner'"):
        low.apply(variables, batches[0][0])
    with pytest.raises(ValueError, match=r"'Dense_0' holds \['bias', 'kernel'\], not 'inner'"):
        low.to_dense(variables)
    with pytest.raises(ValueError, match="collection 'params'"):
        built(Net(), variables["params"], loss, batches)
    hidden = jax.jit(loss)
    jax.eval_shape(hidden, variables, tuple(x[0] for x in batches))
    with pytest.raises(
        ValueError, match=r"the layers found are \[\] \(a loss inside jax\.jit or jax\.checkpoint hides"
    ):
        built(Net(), variables, lambda v, batch: hidden(v, batch), batches)
    boxed = jax.tree.map(lambda x: nn.Partitioned(x, (None,) * x.ndim), variables)
    with pytest.raises(ValueError, match=r"Dense_0/kernel.* are boxed"):
        built(Net(), boxed, loss, batches)


@pytest.mark.parametrize("traced", [False, True])
def test_a_jit_around_the_loss_is_taken_off(traced):
    variables, loss, batches = problem(Net())
    compiled = jax.jit(loss)
    if traced:
        compiled(variables, tuple(x[0] for x in batches))
    ours, wanted = (built(Net(), variables, each, batches) for each in (compiled, loss))
    chex.assert_trees_all_equal(ours.variables, wanted.variables, strict=True)
    batch = tuple(x[0] for x in batches)
    assert ours.loss(ours.variables, batch) == wanted.loss(wanted.variables, batch)


def test_a_method_under_jit_keeps_its_self():
    variables, loss, batches = problem(Net())
    method = types.MethodType(jax.jit(lambda _, *given: loss(*given), static_argnums=0), object())
    method(variables, tuple(x[0] for x in batches))
    with pytest.raises(ValueError, match=r"a loss inside jax\.jit or jax\.checkpoint hides"):
        built(Net(), variables, method, batches)


def test_another_network_in_the_loss_is_no_part_of_the_head():
    variables, loss, batches = problem(Net())
    teacher = nn.Sequential([nn.Dense(5), nn.gelu, nn.Dense(K)])
    drawn = teacher.init(jax.random.key(2), jnp.ones((1, D), "float32"))
    of_teacher = jax.tree.map(lambda x: x.astype("float64"), drawn)

    def both(held, batch):
        return loss(held, (batch[0], jax.lax.stop_gradient(teacher.apply(of_teacher, batch[0]))))

    low = built(Net(), variables, both, batches)
    assert set(low.variables["params"]["Dense_0"]) == {"right", "inner", "bias"}
    assert low.savings.after.head_parameters < low.savings.before.head_parameters


def test_a_penalty_on_the_kernels_is_part_of_the_gradient():
    variables, loss, batches = problem(Net())

    def penalized(held, batch):
        return loss(held, batch) + 10 * sum(jnp.sum(x**2) for x in jax.tree.leaves(held))

    with_penalty, without = (built(Net(), variables, each, batches) for each in (penalized, loss))
    total = jax.jit(jax.grad(lambda v: sum(loss(v, tuple(x[i] for x in batches)) for i in range(2))))
    G = total(variables)["params"]["Dense_0"]["kernel"] + 2 * 20 * variables["params"]["Dense_0"]["kernel"]
    s, found = np.linalg.svd(G, compute_uv=False), with_penalty.gradient
    np.testing.assert_allclose(found.svd.values, s[:K], rtol=1e-6)
    batch = tuple(x[0] for x in batches)
    own = 10 * sum(jnp.sum(x**2) for x in jax.tree.leaves(without.variables))
    apart = with_penalty.loss(without.variables, batch) - without.loss(without.variables, batch)
    np.testing.assert_allclose(apart, own, rtol=1e-12)


def test_frozen_variables_stay_frozen():
    variables, loss, batches = problem(Net())
    low = built(Net(), freeze(variables), loss, batches, basis=basis())
    assert isinstance(low.variables, FrozenDict)
    dense = low.to_dense(low.variables)
    assert jax.tree.structure(dense) == jax.tree.structure(freeze(variables))
