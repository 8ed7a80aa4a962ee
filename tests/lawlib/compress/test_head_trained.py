"""A trained network at low rank: what is warned of, and what the truncated start keeps, against numpy."""

import functools as ft
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import erf, log_softmax
from sklearn.datasets import load_digits

from lawlib.compress import low_rank_mlp

DIGITS, K = load_digits(), 10
ORDER = np.random.default_rng(0).permutation(len(DIGITS.target))
X, CLASSES = np.asarray(DIGITS.data[ORDER] / 16, np.float32), np.asarray(DIGITS.target[ORDER])
TRAINING, TEST = slice(0, 1200), slice(1200, None)


class Head(nn.Module):
    """A head of hidden layers of the same width."""

    hidden: int = 2
    width: int = 128
    between: nn.Module | None = None

    @nn.compact
    def __call__(self, x):
        for _ in range(self.hidden):
            x = nn.gelu(nn.Dense(self.width)(x), approximate=False)
            x = x if self.between is None else self.between(x)
        return nn.Dense(K)(x)


def problem(network):
    def loss(variables, batch):
        return optax.softmax_cross_entropy_with_integer_labels(network.apply(variables, batch[0]), batch[1]).mean()

    return loss, (jnp.asarray(X[None, TRAINING]), jnp.asarray(CLASSES[None, TRAINING]))


def drawn(network, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(X[:1]))
    return jax.tree.map(
        lambda a: jnp.asarray(rng.standard_normal(a.shape) * (a.ndim > 1) / len(a) ** 0.5, "float32"), shapes
    )


@pytest.fixture(scope="module")
def trained():
    """Variables after 100 steps of gradient descent."""
    network = Head()
    loss, batches = problem(network)
    batch = jax.tree.map(lambda a: a[0], batches)

    def step(_, variables):
        return jax.tree.map(lambda a, g: a - 0.3 * g, variables, jax.grad(loss)(variables, batch))

    return jax.jit(lambda v: jax.lax.fori_loop(0, 100, step, v))(drawn(network))


def layers(variables):
    params = variables["params"]
    return [{name: np.asarray(a, np.float64) for name, a in params[at].items()} for at in sorted(params)]


def outputs(held, x):
    """The network in float64."""
    x = np.asarray(x, np.float64)
    for layer in held[:-1]:
        x = x @ layer["kernel"] + layer["bias"]
        x = x * (1 + erf(x / 2**0.5)) / 2
    return x @ held[-1]["kernel"] + held[-1]["bias"]


def accuracy(held):
    return np.mean(outputs(held, X[TEST]).argmax(1) == CLASSES[TEST])


def cross_entropy(held):
    logs = log_softmax(outputs(held, X[TRAINING]), axis=1)
    return -np.mean(logs[np.arange(len(logs)), CLASSES[TRAINING]])


def truncated_svd(held, rank):
    """Every kernel but the last by its leading singular triplets."""
    cut = []
    for layer in held[:-1]:
        U, s, Vt = np.linalg.svd(layer["kernel"])
        cut.append(layer | {"kernel": (U[:, :rank] * s[:rank]) @ Vt[:rank]})
    return [*cut, held[-1]]


def built(variables, network=None, **options):
    network = network or Head()
    loss, batches = problem(network)
    return low_rank_mlp(jax.random.key(1), network, variables, loss, batches, **options)


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return built(*args, **options)


@pytest.fixture(scope="module")
def kept(trained):
    """The truncated start of rank 24, of which nothing is warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return built(trained, inner="truncated", rank=24)


def test_the_truncated_start_is_no_worse_than_the_truncated_svd(trained, kept):
    held, low = layers(trained), kept
    dense, plain = layers(low.to_dense(low.variables)), truncated_svd(held, 24)
    assert accuracy(held) > 0.9
    assert accuracy(dense) > accuracy(held) - 0.02
    assert accuracy(dense) >= accuracy(plain)
    assert cross_entropy(dense) <= cross_entropy(plain)
    assert float(low.losses.before) == pytest.approx(cross_entropy(held), rel=1e-4)
    assert float(low.losses.after) == pytest.approx(cross_entropy(dense), rel=1e-4)


def test_the_kernels_are_projected_on_s_big_and_leading_singular_vectors(trained, kept):
    rank, given, low = 24, trained, kept
    loss, batches = problem(Head())
    gradient = jax.jit(jax.grad(lambda v: loss(v, jax.tree.map(lambda a: a[0], batches))))(given)
    for was, slope, now in list(zip(*(layers(v) for v in (given, gradient, low.variables)), strict=True))[:-1]:
        W = was["kernel"]
        L, _, Rt = np.linalg.svd(slope["kernel"])
        big = np.linalg.qr(np.hstack([L[:, :K], W @ Rt[:K].T]))[0]
        rest = W - big @ (big.T @ W)
        V = np.hstack([big, np.linalg.svd(rest)[0][:, : rank - 2 * K]])
        shapes = [now[name].shape for name in ("right", "inner", "left")]
        assert shapes == [(len(W), rank), (rank, rank), (rank, W.shape[1])]
        np.testing.assert_allclose(now["right"].T @ now["right"], np.eye(rank), atol=1e-5)
        # The K-th direction of a cross-entropy gradient is rounding, and its place in S_big a choice.
        product = now["right"] @ now["inner"] @ now["left"]
        assert np.linalg.norm(product - V @ (V.T @ W)) < 0.02 * np.linalg.norm(W)
        np.testing.assert_array_equal(now["bias"], was["bias"])


def test_without_classes_it_is_the_truncated_svd(trained):
    low = built(trained, inner="truncated", num_classes=0, rank=25)
    dense, plain = layers(low.to_dense(low.variables)), truncated_svd(layers(trained), 25)
    assert low.gradient is None
    assert low.big is None
    for now, wanted in zip(dense, plain, strict=True):
        np.testing.assert_allclose(now["kernel"], wanted["kernel"], atol=1e-4)
        np.testing.assert_array_equal(now["bias"], wanted["bias"].astype(np.float32))


# The gradient is rounding alone, and warned of where that is exactly 0.
@pytest.mark.filterwarnings("ignore:the largest entry of the gradient")
def test_a_gradient_that_says_nothing_is_not_followed():
    network, x = Head(1), jnp.asarray(X[TRAINING])
    given = drawn(network)
    given["params"]["Dense_0"]["kernel"] = jnp.asarray(truncated_svd(layers(given), 12)[0]["kernel"], "float32")
    reached = (x[None], network.apply(given, x)[None])

    def loss(variables, batch):
        return jnp.mean((network.apply(variables, batch[0]) - batch[1]) ** 2)

    low = low_rank_mlp(jax.random.key(1), network, given, loss, reached, inner="truncated", rank=20)
    assert not low.gradient.certified
    assert float(low.losses.after) < 1e-8


def test_full_rank_changes_nothing():
    given = drawn(Head(1))
    low = built(given, Head(1), inner="truncated", num_classes=0, rank=64)
    for now, was in zip(layers(low.to_dense(low.variables)), layers(given), strict=True):
        np.testing.assert_allclose(now["kernel"], was["kernel"], atol=1e-5)


@pytest.mark.parametrize(
    "between", [nn.LayerNorm(use_bias=False, use_scale=False), nn.softmax], ids=["norm", "softmax"]
)
def test_anything_may_stand_between_layers_that_keep_their_units(between):
    network = Head(2, between=between)
    low = quiet(drawn(network), network=network, inner="truncated", num_classes=0, rank=12)
    x = jnp.asarray(X[:9])
    small, whole = low.apply(low.variables, x), network.apply(low.to_dense(low.variables), x)
    np.testing.assert_allclose(small, whole, atol=1e-5)


def test_a_trained_network_that_is_lost_is_warned_of(trained):
    message = r"a loss of 0\.\d+ on the first batch, the low-rank one \d.*last kernel at 0.*inner='truncated' keeps"
    with pytest.warns(UserWarning, match=message):
        low = built(trained)
    assert accuracy(layers(trained)) - accuracy(layers(low.to_dense(low.variables))) > 0.3


def test_the_warning_is_free_of_offset_and_scale(trained):
    network = Head()
    loss, batches = problem(network)
    for scale, offset in ((1e-3, -5.0), (40.0, 0.0)):
        scaled = lambda *at, a=scale, b=offset: a * loss(*at) + b  # noqa: E731
        build = ft.partial(low_rank_mlp, jax.random.key(1), network, trained, scaled, batches)
        with pytest.warns(UserWarning, match="the low-rank one"):
            build(basis=jnp.eye(64, 20, dtype="float32"))


def test_what_was_not_trained_is_not_warned_of():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for seed in range(2):
            built(
                drawn(Head(), seed),
                basis=jnp.linalg.qr(jax.random.normal(jax.random.key(seed), (64, 20), "float32"))[0],
            )
    assert [str(each.message) for each in told] == []


def test_a_truncation_that_loses_the_network_is_warned_of(trained):
    with pytest.warns(UserWarning, match="a larger rank keeps more"):
        built(trained, inner="truncated", num_classes=0, rank=3)


def test_a_loss_that_is_not_finite_is_warned_of():
    network = Head(1)
    loss, batches = problem(network)
    given = drawn(network)

    def fragile(variables, batch):
        return loss(variables, batch) + jnp.where("kernel" in variables["params"]["Dense_0"], 0.0, jnp.nan)

    with pytest.warns(UserWarning, match="the low-rank one nan"):
        low_rank_mlp(jax.random.key(1), network, given, fragile, batches, basis=jnp.eye(64, 4, dtype="float32"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"basis": jnp.eye(64, 20)}, "a basis can be given for inner in"),
        ({"num_classes": 0}, "num_classes=0 and a rank, without S_big; got num_classes=0 and rank=0"),
        ({"rank": 19}, "2 num_classes <= rank <= 64.*rank=19"),
        ({"num_classes": 0, "rank": 65}, "rank <= 64.*rank=65"),
        ({"num_classes": -1, "rank": 5}, "num_classes must be a whole number of at least 0, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        built(drawn(Head()), inner="truncated", **options)
