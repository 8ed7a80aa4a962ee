"""What is refused as batches, as variables and as a loss, and with which words; and that nothing right is."""

import collections
import functools as ft

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lawlib.compress import low_rank_mlp
from lawlib.linalg.batches import check_batches
from lawlib.linalg.gradients import gradient_products
from lawlib.linalg.shifts import shifted_gradient_products

D, K, N, B = 6, 3, 7, 4
network = nn.Sequential([nn.Dense(8), nn.gelu, nn.Dense(K)])
rng = np.random.default_rng(0)
variables = jax.tree.map(
    lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32),
    jax.eval_shape(network.init, jax.random.key(0), jnp.ones((1, D), "float32")),
)
X, Y = (jnp.asarray(rng.standard_normal((B, N, d)), jnp.float32) for d in (D, K))
KERNEL = "params/layers_0/kernel"
FLAT = X.reshape(-1, D), Y.reshape(-1, K)


def loss(held, batch):
    x, y = batch
    return jnp.sum((network.apply(held, x) - y) ** 2) / 2


def per_sample(held, batch):
    return jnp.sum(jax.vmap(lambda x, y: loss(held, (x, y)))(*batch))


def of_images(held, batch):
    x, y = batch
    return jnp.sum((network.apply(held, x.reshape(len(x), -1)) - y) ** 2)


def of_classes(held, batch):
    x, label = batch
    return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(network.apply(held, x), label))


def per_sample_in_turn(held, batch):
    return jnp.sum(jax.lax.map(lambda sample: loss(held, sample), batch))


def scanned(held, batch):
    return jax.lax.scan(lambda summed, sample: (summed + loss(held, sample), None), jnp.float32(0), batch)[0]


def recurrent(held, batch):
    """A state of D numbers, moved by each row of X through the first two kernels."""
    K_1, K_2 = (held["params"][name]["kernel"] for name in ("layers_0", "layers_2"))
    step = lambda state, x: (x + jnp.pad(jnp.tanh(state @ K_1) @ K_2, (0, D - K)), None)  # noqa: E731
    return jnp.sum(jax.lax.scan(step, jnp.zeros(D, "float32"), batch[0])[0] ** 2)


Batch = collections.namedtuple("Batch", ["x", "y"])
LABELS = jnp.zeros((B, N), "int32")


@pytest.mark.parametrize(
    ("loss", "batches"),
    [
        (loss, (X, Y)),
        (loss, (np.asarray(X), np.asarray(Y))),
        (loss, [X, Y]),
        (loss, Batch(X, Y)),
        (loss, (X[:, :1], Y[:, :1])),
        (loss, tuple(x[None] for x in FLAT)),
        (jax.jit(loss), (X, Y)),
        (per_sample, (X, Y)),
        (per_sample_in_turn, (X, Y)),
        (scanned, (X, Y)),
        (of_classes, (X, LABELS)),
        (of_images, (X.reshape(B, N, 2, 3), Y)),
        (
            lambda held, batch: loss(held, (batch["x"], batch["y"])),
            {"x": X, "y": Y, "key": jax.random.split(jax.random.key(0), B)},
        ),
        (lambda held, rows: loss(held, tuple(x[rows] for x in FLAT)), jnp.zeros((B, 5), "int32")),
    ],
)
def test_what_is_right_is_accepted(loss, batches):
    # It passes if nothing is raised.
    check_batches(loss, variables, batches)


AXIS = "batches must be a tree of arrays whose leading axis runs over the batches"
FLAT_DATA = (
    r"leading axis of .* seems to run over samples; reshape X to \(batches, samples, ...\).*\(X\[None\], y\[None\]\)"
)
LIST = rf"{AXIS}, got a list of {B} batches: stack them, jax\.tree\.map\(lambda \*x: jnp\.stack\(x\), \*batches\)"
PAIRS = list(zip(X, Y, strict=True))
REFUSED = {
    "flat": (loss, FLAT, rf"{AXIS}, and a batch of \(6,\), \(3,\) is a single sample.*{FLAT_DATA}"),
    "flat, jitted": (jax.jit(loss), FLAT, FLAT_DATA),
    "flat, classes": (of_classes, (FLAT[0], LABELS.ravel()), FLAT_DATA),
    "flat, recurrent": (recurrent, (X, Y), r"a batch of \(7, 6\), \(7, 3\) is a single sample"),
    "flat, mapped": (per_sample, FLAT, r"\(28, 6\), \(28, 3\), on which the loss runs as one batch, .*reshape X"),
    "flat images": (of_images, (FLAT[0].reshape(-1, 2, 3), FLAT[1]), r"\(28, 2, 3\), .* runs as one batch.*reshape X"),
    "one batch": (lambda held, x: loss(held, (x, Y[0])), X[0], r"got \(7, 6\), on which .* one batch, .*reshape X"),
    "a list": (loss, PAIRS, LIST),
    "a list of lists": (loss, [list(pair) for pair in PAIRS], LIST),
    "a list of dicts": (
        lambda held, batch: loss(held, (batch["x"], batch["y"])),
        [{"x": x, "y": y} for x, y in PAIRS],
        LIST,
    ),
    "a short last one": (
        loss,
        [*PAIRS, (X[0, :2], Y[0, :2])],
        r"a list of 5 batches whose sizes differ, .*\(2, 6\), \(2, 3\): leave out the last or pad it",
    ),
    "axes": (loss, (X, Y[:3]), r"the same number in all arrays, got \(4, 7, 6\), \(3, 7, 3\); reshape"),
    "no batch": (
        loss,
        (X[:0], Y[:0]),
        r"at least one, and the same number in all arrays, got \(0, 7, 6\), \(0, 7, 3\)",
    ),
    "scalars": (loss, (X, jnp.asarray(1.0)), r"the same number in all arrays, got \(4, 7, 6\), \(\)"),
    "a loader": (loss, iter(PAIRS), rf"{AXIS}, got list_iterator .*; stack the batches of a loader"),
    "nothing": (loss, (), f"{AXIS}, got tuple with no leaves"),
    "aux": (
        lambda held, batch: (loss(held, batch), batch[0]),
        (X, Y),
        "must return one real number for a batch, got .*; leave out auxiliary outputs: lambda variables, batch: loss",
    ),
    "losses": (lambda held, batch: loss(held, batch)[None], (X, Y), "one real number for a batch, got"),
    "whole": (lambda held, batch: jnp.sum(batch[0] > 0), (X, Y), "one real number for a batch, got"),
    "complex": (lambda held, batch: loss(held, batch).astype("complex64"), (X, Y), "one real number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_is_refused_in_a_line_that_says_what_to_do(case):
    loss, batches, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        gradient_products(loss, variables, KERNEL, batches)


def test_the_losss_own_error_comes_through_with_the_shapes():
    with pytest.raises(TypeError, match=r"sub got incompatible shapes") as seen:
        check_batches(loss, variables, (X, Y[..., :2]))
    assert "first of the batches, of shapes (7, 6), (7, 2)" in "".join(seen.value.__notes__)


@pytest.mark.parametrize("route", ["parameter", "matrix_free"])
def test_the_same_under_jit(route):
    build = ft.partial(gradient_products, loss, route=route)
    with pytest.raises(ValueError, match=FLAT_DATA):
        jax.eval_shape(lambda held, data: build(held, KERNEL, data).forward(jnp.ones((8, 1))), variables, FLAT)


def test_products_with_a_loss_of_a_shift_check_their_batches():
    W = jnp.ones((5, D), "float32")

    def of_columns(shift, x):
        return jnp.sum(jnp.sin(W @ x + shift.columns(x)))

    columns = jnp.swapaxes(X, 1, 2)
    shifted_gradient_products(of_columns, columns, (5, D))
    with pytest.raises(ValueError, match=FLAT_DATA):
        shifted_gradient_products(of_columns, FLAT[0], (5, D))
    with pytest.raises(ValueError, match="one real number"):
        shifted_gradient_products(lambda shift, x: (of_columns(shift, x), x), columns, (5, D))


@pytest.mark.parametrize("case", ["flat", "a list", "a short last one", "aux"])
def test_low_rank_networks_refuse_the_same(case):
    loss, batches, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        low_rank_mlp(jax.random.key(0), network, variables, loss, batches, num_classes=1)
