"""What `low_rank_mlp` checks when it builds: the units between the layers, and the losses, against numpy."""

import functools as ft
import itertools
import re
import warnings
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.compress import low_rank_mlp
from lawlib.compress.head_checks import row_order_deviations

D, M, K, R, N = 12, 16, 3, 6, 20
RNGS = {"dropout": jax.random.key(8), "noise": jax.random.key(9)}


class Net(nn.Module):
    """Three hidden layers with ``between`` after the first activation, and a skip connection around the second."""

    between: Callable = lambda module, h: h
    phi: Callable = jnp.tanh
    skip: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, x):
        x = self.between(self, self.phi(nn.Dense(M, dtype=self.dtype)(x)))
        h = self.phi(nn.Dense(M, dtype=self.dtype)(x))
        x = h + x if self.skip else h
        x = self.phi(nn.Dense(M, dtype=self.dtype)(x))
        return nn.Dense(K, dtype=self.dtype)(x)


def dropped(module, h):
    return nn.Dropout(0.5, deterministic=False)(h)


def noisy(module, h):
    return h + 0.1 * jax.random.normal(module.make_rng("noise"), h.shape, h.dtype)


def shifted(network, scale=1.0):
    """Variables with biases, a loss that draws random numbers, a batch."""
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(scale * rng.standard_normal((1, N, n)), "float32") for n in (D, K))
    shapes = jax.eval_shape(lambda: network.init({"params": jax.random.key(0), **RNGS}, x[0]))
    variables = jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape) / len(a) ** 0.5, "float32"), shapes)

    def loss(held, batch):
        return jnp.sum((network.apply(held, batch[0], rngs=RNGS).astype("float32") - batch[1]) ** 2) / 2

    return variables, loss, (x, y)


def built(network, scale=1.0, r=R, **options):
    basis = {} if options else {"basis": jnp.linalg.qr(jax.random.normal(jax.random.key(2), (D, r), "float32"))[0]}
    return low_rank_mlp(jax.random.key(1), network, *shifted(network, scale), **basis, **options)


def forward(variables, x, between=lambda h: h):
    """The network in float64, with a low-rank layer's factors or a kernel."""
    x, params = np.asarray(x, np.float64), variables["params"]
    for layer in range(4):
        held = {name: np.asarray(a, np.float64) for name, a in params[f"Dense_{layer}"].items()}
        last = x
        for name in ("right", "inner", "left", "kernel"):
            x = x @ held[name] if name in held else x
        x = x + held["bias"]
        x = np.tanh(x) if layer < 3 else x
        x = between(x) if layer == 0 else x
    return last, x


MIXING = {
    "softmax": lambda _, h: jax.nn.softmax(h),
    "RMS by hand": lambda _, h: h / jnp.sqrt(jnp.mean(h**2, axis=-1, keepdims=True)),
    "norm by hand": lambda _, h: h / jnp.linalg.norm(h, axis=-1, keepdims=True),
    "largest": lambda _, h: h - jnp.max(h, axis=-1, keepdims=True),
    "attention": lambda _, h: nn.dot_product_attention(*[h[None, :, None]] * 3)[0, :, 0],
    "number of units": lambda _, h: h / h.shape[-1],
    "noise, softmax": lambda module, h: jax.nn.softmax(noisy(module, h)),
    "dropout, softmax": lambda module, h: jax.nn.softmax(dropped(module, h)),
}


@pytest.mark.parametrize("between", MIXING.values(), ids=MIXING)
def test_what_combines_units_is_refused(between):
    with pytest.raises(
        ValueError, match=r"'Dense_\d'.*must act unit by unit, for any number of units.*inner='truncated'"
    ):
        built(Net(between))


def test_a_skip_connection_is_refused():
    with pytest.raises(ValueError, match="values in every second unit of 'Dense_1' and in the layers before it"):
        built(Net(skip=True))
    with pytest.raises(ValueError, match=r"does not run \(.*incompatible shapes.*must act unit by unit"):
        built(Net(skip=True), layers=("Dense_1", "Dense_2", "Dense_3"), num_classes=K)


ALONE = {"dropout": dropped, "noise": noisy, "depth": lambda module, h: jnp.where(True, h, noisy(module, h[:, :1]))}


@pytest.mark.parametrize("between", ALONE.values(), ids=ALONE)
def test_random_draws_are_no_reason_to_refuse(between):
    assert built(Net(between)).variables["params"]["Dense_1"]["inner"].shape == (R, R)


def test_the_difference_that_is_reported_is_that_of_the_matrices():
    network = Net(MIXING["softmax"])
    with pytest.raises(ValueError, match="differ by") as refused:
        built(network)
    seen, rounding = (float(x) for x in re.findall(r"differ by (\S+) .*explains (\S+),", str(refused.value))[0])
    low, batches = built(Net()), shifted(network)[2]
    # The same variables: functions between the layers have no part in them.
    each = [low.variables, low.to_dense(low.variables)]
    inputs = [forward(v, batches[0][0], lambda h: np.exp(h) / np.exp(h).sum(1, keepdims=True))[0] for v in each]
    assert seen == pytest.approx(np.abs(inputs[0] - inputs[1]).max(), rel=0.06)
    assert rounding < 1e-4 * seen


@pytest.mark.parametrize(
    ("network", "scale"), [(Net(phi=jnp.sin), 1e3), (Net(dtype="bfloat16"), 1.0)], ids=["large", "bfloat16"]
)
def test_rounding_is_no_reason_to_refuse(network, scale):
    assert jnp.isfinite(built(network, scale).losses.after)


def test_the_losses_are_those_of_the_matrices_without_dropout():
    low = built(Net(dropped))
    variables, _, (x, y) = shifted(Net(dropped))
    for found, held in zip(low.losses, (variables, low.variables), strict=True):
        wanted = np.sum((forward(held, x[0])[1] - np.asarray(y[0])) ** 2) / 2
        assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_traced_losses_are_given_and_nothing_is_compared():
    network = Net(MIXING["softmax"])
    variables, loss, batches = shifted(network)
    build = ft.partial(low_rank_mlp, jax.random.key(1), network, basis=jnp.eye(D, R, dtype="float32"))
    low, losses = jax.jit(lambda v: (lambda low: (low.variables, low.losses))(build(v, loss, batches)))(variables)
    between = lambda h: np.exp(h) / np.exp(h).sum(1, keepdims=True)  # noqa: E731
    for found, held in zip(losses, (variables, low), strict=True):
        wanted = np.sum((forward(held, batches[0][0], between)[1] - np.asarray(batches[1][0])) ** 2) / 2
        assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_deviations_are_those_among_all_orders_of_the_rows(dtype):
    rng = np.random.default_rng(4)
    G, W = rng.standard_normal((2, 6, 2)) + 1.0
    products = [np.sum(G * W[list(order)]) for order in itertools.permutations(range(6))]
    wanted = (np.sum(G * W) - np.mean(products)) / np.std(products)
    found = row_order_deviations(jnp.asarray(1e-30 * G, dtype), jnp.asarray(W, dtype))
    assert float(found) == pytest.approx(wanted, rel=1e3 * float(jnp.finfo(dtype).eps))
    assert row_order_deviations(jnp.zeros((6, 2), dtype), jnp.asarray(W, dtype)) == 0
    low = row_order_deviations(jnp.asarray(G, "bfloat16"), jnp.asarray(W, "bfloat16"))
    assert float(low) == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_untrained_network_is_not_warned_of(sign):
    network = Net()
    variables, loss, batches = shifted(network)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for seed in range(2):
            basis = jnp.linalg.qr(jax.random.normal(jax.random.key(seed), (D, R), "float32"))[0]
            low_rank_mlp(jax.random.key(1), network, variables, lambda *at: sign * loss(*at), batches, basis=basis)
    assert [str(each.message) for each in told] == []


@pytest.mark.parametrize("over", [jax.vmap, lambda run: lambda *data: jax.lax.map(lambda pair: run(*pair), data)])
def test_a_loss_of_single_samples_gives_the_same_network(over):
    network = Net()
    variables, loss, batches = shifted(network)
    one = lambda held: lambda x, y: jnp.sum((network.apply(held, x, rngs=RNGS) - y) ** 2) / 2  # noqa: E731
    per_sample = lambda held, batch: jnp.sum(over(one(held))(*batch))  # noqa: E731
    built = [low_rank_mlp(jax.random.key(1), network, variables, f, batches, rank=R) for f in (per_sample, loss)]
    for ours, wanted in zip(*(low.losses for low in built), strict=True):
        assert ours == pytest.approx(float(wanted), rel=1e-4)


def test_a_loss_of_single_samples_does_not_hide_what_combines_units():
    network = Net(between=lambda module, h: jax.nn.softmax(h))
    variables, _, batches = shifted(network)
    loss = lambda held, batch: jnp.sum(jax.vmap(lambda x, y: jnp.sum((network.apply(held, x) - y) ** 2))(*batch))  # noqa: E731
    with pytest.raises(ValueError, match=r"the losses differ by .* between the low-rank network and its dense form"):
        low_rank_mlp(jax.random.key(1), network, variables, loss, batches, rank=R)


def test_networks_may_give_back_what_is_no_array():
    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Net(name="net")(x), {"layers": 4, "name": "net"}

    network = Counted()
    variables, _, batches = shifted(Net())
    variables = {"params": {"net": variables["params"]}}
    loss = lambda held, batch: jnp.sum((network.apply(held, batch[0])[0] - batch[1]) ** 2)  # noqa: E731
    assert low_rank_mlp(jax.random.key(1), network, variables, loss, batches, rank=R).losses.after > 0


def test_a_loss_that_looks_up_a_kernel_is_refused_with_what_to_do():
    variables, loss, batches = shifted(Net())

    def decayed(held, batch):
        return loss(held, batch) + jnp.sum(held["params"]["Dense_1"]["kernel"] ** 2)

    with pytest.raises(ValueError, match=r"uses 'kernel'.*factors.*weight decay belongs in the optimizer"):
        low_rank_mlp(jax.random.key(1), Net(), variables, decayed, batches, rank=R)
