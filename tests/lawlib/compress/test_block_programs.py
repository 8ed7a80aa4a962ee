"""Functions of block arrays against the same functions of the whole arrays, and those that depend on the basis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.compress import block_programs
from lawlib.compress.block_arrays import Axis, BlockArray, Unreadable

IN, OUT = Axis("space 0", 3, 4), Axis("space 1", 3, 4)
SQUARE = frozenset({(7, 7)})
LAYERS = SQUARE | {(2, 7), (7, 2)}
# They take singular vectors.
OF_VECTORS = ("polar", "polar of few")


def called(function, *arguments, layers):
    return block_programs.called(block_programs.traced(function, *arguments), *arguments, layers=layers)


def blocks():
    """A layer, another one with the same axes, one of two outputs, and a number."""
    keys = jax.random.split(jax.random.key(0), 3)
    core, other, last = (
        jax.random.normal(k, shape, jnp.float64) for k, shape in zip(keys, ((3, 3), (3, 3), (2, 3)), strict=True)
    )
    return (
        BlockArray(core, jnp.asarray(-0.7), (OUT, IN)),
        BlockArray(other, jnp.asarray(0.4), (OUT, IN)),
        BlockArray(last, jnp.zeros(2), (None, OUT)),
        jnp.asarray(0.3),
    )


def whole(value):
    """The array that a block array stands for."""
    if not isinstance(value, BlockArray):
        return value
    if len(value.directions) == 1:
        return jnp.pad(value.core, ((0, 0), (0, 4)))
    return jax.scipy.linalg.block_diag(value.core, value.idle * jnp.eye(4))


def roots(A):
    values, vectors = jnp.linalg.eigh(A @ A.T)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0.1))[None]) @ vectors.T


def polar(A):
    U, _, Vt = jnp.linalg.svd(A)
    return U @ Vt


def rounds(A, x):
    return jax.lax.while_loop(lambda at: jnp.linalg.norm(at) > x, lambda at: at - 0.4 * at @ at.T @ at / 9, A)


def summed(A, B):
    def body(carry, factor):
        total = carry + factor * B
        return total, jnp.sum(total * A)

    total, inner = jax.lax.scan(body, jnp.zeros_like(A), jnp.arange(3.0))
    return total, inner


FUNCTIONS = {
    "sum": lambda A, B, C, x: A - x * B / 2 + jnp.zeros((7, 7)),
    "cubic": lambda A, B, C, x: A @ A.T @ B,
    "batched": lambda A, B, C, x: jax.vmap(lambda M: M @ M.T @ M / jnp.linalg.norm(M))(A[None])[0],
    "norm": lambda A, B, C, x: jnp.linalg.norm(A) * B / jnp.sqrt(jnp.sum(jnp.square(C))),
    "mean square": lambda A, B, C, x: jnp.mean(A**2) + x,
    "inner product": lambda A, B, C, x: (jnp.vdot(A, B), jnp.sum(A * B), jnp.einsum("ij,ij", A, B)),
    "by the shape": lambda A, B, C, x: C * jnp.sqrt(C.shape[1] / C.shape[0]),
    "identity": lambda A, B, C, x: A.T @ A + x * jnp.eye(7),
    "of outputs": lambda A, B, C, x: (C @ A, C.T @ C, C @ C.T, jnp.tanh(C @ C.T) @ C),
    "moment": lambda A, B, C, x: 0.9 * B**2 + 0.1 * jnp.square(A),
    "roots": lambda A, B, C, x: roots(A) @ B,
    "roots of few": lambda A, B, C, x: C @ (lambda w, V: (V / (1 + w)[None]) @ V.T)(*jnp.linalg.eigh(A @ A.T)),
    "one by one": lambda A, B, C, x: (lambda w, V: ((C @ V) * w[None]) @ V.T)(*jnp.linalg.eigh(A @ A.T)),
    "polar": lambda A, B, C, x: polar(A),
    "polar of few": lambda A, B, C, x: (lambda U, s, Vt: U @ Vt)(*jnp.linalg.svd(C, full_matrices=False)),
    "spectral norm": lambda A, B, C, x: (jnp.linalg.norm(A, 2), jnp.linalg.norm(A, "nuc"), jnp.linalg.norm(C, 2)),
    "smallest value": lambda A, B, C, x: jnp.min(jnp.linalg.svd(B, compute_uv=False)) * A,
    "where": lambda A, B, C, x: jnp.where(x > 0.2, A, B) + jnp.where(x > 0.5, A, 0.0 * B),
    "safe": lambda A, B, C, x: jnp.linalg.norm(jnp.where(x > 0.5, jnp.ones_like(A), A)),
    "guarded norm": lambda A, B, C, x: jnp.where(
        jnp.linalg.norm(jnp.where(x > 0.5, A, 1.0)) > 3, A, jnp.linalg.norm(jnp.where(x > 0.1, A, 1.0)) * B
    ),
    "choices of choices": lambda A, B, C, x: jnp.linalg.norm(
        jnp.where(x < 0.5, jnp.where(x > 0.1, jnp.zeros((7, 7)), 1.0), B)
    ),
    "twice chosen": lambda A, B, C, x: (lambda H: jnp.sum(H * H * x) * jnp.mean(jnp.where(x > 0.5, C, 2.0) ** 2))(
        jnp.where(x > 0.5, A, 1.0)
    ),
    "one of two layers": lambda A, B, C, x: jnp.linalg.norm(jnp.where(x > 0.5, A, A.T @ B)),
    "chosen in a loop": lambda A, B, C, x: jax.lax.fori_loop(
        0, 3, lambda _, t: t / 9 + jnp.linalg.norm(jnp.where(t > 0.5, A, 1.0)), x
    ),
    "zeros before": lambda A, B, C, x: (A @ A.T + (jnp.zeros((7, 7)) - jnp.eye(7))) @ (jnp.zeros((7, 7)) - A),
    "values of a batch": lambda A, B, C, x: jnp.sum(
        jax.vmap(lambda a: (lambda w, V: V * (a + w)[None] @ V.T)(*jnp.linalg.eigh(a * A @ A.T)))(jnp.arange(3.0)),
        axis=0,
    ),
    "branch": lambda A, B, C, x: jax.lax.cond(x > 0, lambda: (A @ B.T, x), lambda: (jnp.zeros((7, 7)), 2 * x)),
    "other branch": lambda A, B, C, x: jax.lax.cond(x < 0, lambda: A, lambda: jnp.zeros((7, 7))),
    "scan": lambda A, B, C, x: summed(A, B),
    "fori": lambda A, B, C, x: jax.lax.fori_loop(0, 3, lambda _, M: M @ M.T @ M / 9, A),
    "while": lambda A, B, C, x: rounds(A, x),
    "finite values": lambda A, B, C, x: jnp.all(jnp.isfinite(jnp.linalg.svd(A, compute_uv=False))) & (x > 0),
    "finite": lambda A, B, C, x: jnp.where(jnp.all(jnp.isfinite(A)), A, B),
    "checkpoint": lambda A, B, C, x: jax.checkpoint(lambda M: M @ M.T)(A),
    "clipped": lambda A, B, C, x: A * jnp.minimum(1.0, x / jnp.maximum(jnp.linalg.norm(A), 1e-6)),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_block_arrays_is_that_of_the_whole_arrays(name, compiled):
    layers = SQUARE if name in OF_VECTORS else LAYERS

    def run(*arguments):
        return called(FUNCTIONS[name], *arguments, layers=layers)

    found = (jax.jit(run) if compiled else run)(*blocks())
    expected = FUNCTIONS[name](*map(whole, blocks()))
    leaves = jax.tree.leaves(found, is_leaf=lambda leaf: isinstance(leaf, BlockArray))
    for one, other in zip(leaves, jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(whole(one), other, atol=1e-12)


@pytest.mark.parametrize("name", OF_VECTORS)
def test_singular_vectors_are_refused_beside_a_layer_that_leaves_singular_values_of_0(name):
    with pytest.raises(Unreadable, match="it takes singular vectors"):
        called(FUNCTIONS[name], *blocks(), layers=LAYERS)


def counting(place):
    return jax.lax.broadcasted_iota(jnp.float64, (7, 7), place)


# Functions that depend on the basis of the idle directions, or tie the bases of two layers.
OF_THE_BASIS = {
    "root of entries": lambda A, B, C, x: jnp.sqrt(A**2),
    "quotient of entries": lambda A, B, C, x: A / (B**2),
    "constant added": lambda A, B, C, x: A + x,
    "product with squares": lambda A, B, C, x: A @ (B**2).T,
    "four axes": lambda A, B, C, x: jnp.einsum("ij,kl->ijkl", A, B),
    "squares added": lambda A, B, C, x: A + A**2,
    "identity among squares": lambda A, B, C, x: jnp.sum((A @ A.T) ** 2 + x * jnp.eye(7)),
    "ones added": lambda A, B, C, x: A + jnp.ones((7, 7)),
    "absolute value": lambda A, B, C, x: abs(A),
    "cube of entries": lambda A, B, C, x: A**3,
    "entries returned to": lambda A, B, C, x: (A * B) @ A.T,
    "square of a layer": lambda A, B, C, x: A @ A,
    "transpose added": lambda A, B, C, x: A + A.T,
    "identity between layers": lambda A, B, C, x: A + jnp.eye(7),
    "sum of entries": lambda A, B, C, x: jnp.sum(A),
    "norms of rows": lambda A, B, C, x: jnp.linalg.norm(A, axis=1),
    "norms of columns": lambda A, B, C, x: jnp.linalg.norm(C, axis=0),
    "largest entry": lambda A, B, C, x: jnp.max(A**2),
    "a row": lambda A, B, C, x: A[0],
    "whole numbers": lambda A, B, C, x: jnp.linalg.norm(A.astype("int32").astype("float64")),
    "nonzero": lambda A, B, C, x: jnp.all(A.astype(bool)),
    "number of finite": lambda A, B, C, x: jnp.sum(jnp.isfinite(A)),
    "values of a branch": lambda A, B, C, x: jnp.sum(
        jax.lax.cond(x > 0, lambda: jnp.linalg.svd(A)[1], lambda: jnp.linalg.svd(B)[1])
    ),
    "mask": lambda A, B, C, x: A * np.tri(7),
    "comparison": lambda A, B, C, x: jnp.where(A > 0, A, B),
    "noise": lambda A, B, C, x: A + jax.random.normal(jax.random.key(0), (7, 7)),
    "leading vectors": lambda A, B, C, x: jnp.linalg.svd(A)[0][:, :2] @ jnp.linalg.svd(A)[0][:, :2].T @ A,
    "values of another": lambda A, B, C, x: (lambda w, V: (V * jnp.linalg.eigh(B @ B.T)[0][None]) @ V.T)(
        *jnp.linalg.eigh(A @ A.T)
    ),
    "entries in a basis": lambda A, B, C, x: (lambda V: V @ jnp.sign(V.T @ A))(jnp.linalg.eigh(A @ A.T)[1]),
    "values returned": lambda A, B, C, x: jnp.linalg.svd(A, compute_uv=False),
    "values repeated and summed": lambda A, B, C, x: jnp.sum(
        jnp.broadcast_to(jnp.linalg.svd(A, compute_uv=False)[None], (7, 7))
    ),
    "vectors weighed by values": lambda A, B, C, x: (lambda w, V: V @ w)(*jnp.linalg.eigh(A @ A.T)),
    "outer product of values": lambda A, B, C, x: (lambda w: w[:, None] * w[None])(jnp.linalg.eigh(A @ A.T)[0]),
    "reshaped": lambda A, B, C, x: jnp.linalg.norm(jnp.reshape(A, (49, 1)), axis=1),
    "inverse": lambda A, B, C, x: jnp.linalg.inv(A),
    "branch on an entry": lambda A, B, C, x: jax.lax.cond(A[0, 0] > 0, lambda: A, lambda: B),
    "rows in a loop": lambda A, B, C, x: jax.lax.map(lambda row: row / 2, A),
    "stack in a loop": lambda A, B, C, x: jax.lax.scan(lambda carry, _: (carry, carry), A, length=2)[1],
    "constant in its place": lambda A, B, C, x: jnp.where(x > 0.5, A, 1.0),
    "plain constant in its place": lambda A, B, C, x: jnp.where(x > 0, A, np.ones((7, 7))),
    "constant in a branch": lambda A, B, C, x: jax.lax.cond(x > 0, lambda: jnp.where(x > 0.5, A, 1.0), lambda: A),
    "constant in a loop": lambda A, B, C, x: jax.lax.fori_loop(0, 2, lambda _, M: jnp.where(x > 0.5, M, 1.0), A),
    "negative counting": lambda A, B, C, x: (
        A @ A.T + ((jnp.zeros((7, 7)) - counting(0)) == counting(1)).astype(A.dtype)
    ),
    "zeros repeated": lambda A, B, C, x: jnp.sum(jnp.broadcast_to(jnp.zeros((7, 7)), (3, 7, 7)) + A[None], axis=0),
    "ones repeated": lambda A, B, C, x: jnp.sum(jnp.broadcast_to(jnp.ones((7, 7)), (3, 7, 7)) * A[None], axis=0),
    "layer repeated": lambda A, B, C, x: jax.lax.broadcast_in_dim(A[None], (3, 7, 7), (0, 1, 2)),
    "rows weighed": lambda A, B, C, x: (lambda w, V: w[None] * jnp.arange(7.0)[:, None] * V)(*jnp.linalg.eigh(A @ A.T)),
    "outputs' directions": lambda A, B, C, x: jnp.sign(C),
}


@pytest.mark.parametrize("name", OF_THE_BASIS)
def test_a_function_that_depends_on_the_basis_is_not_read(name):
    with pytest.raises(Unreadable):
        called(OF_THE_BASIS[name], *blocks(), layers=SQUARE)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("constant in its place", "puts a constant in place of a layer's array where a condition holds"),
        ("constant in a branch", "puts a constant in place of a layer's array where a condition holds"),
        ("layer repeated", r"repeats a layer's array along a new axis \(broadcast_in_dim\)"),
    ],
)
def test_a_refusal_says_what_the_function_does(name, reason):
    with pytest.raises(Unreadable, match=reason):
        called(OF_THE_BASIS[name], *blocks(), layers=SQUARE)


def test_operands_that_a_rule_did_not_foresee_are_a_refusal(monkeypatch):
    def rule(eqn, values, layers):
        return [jnp.reshape(values[0].core, (5, 5))]

    monkeypatch.setitem(block_programs.RULES, "neg", rule)
    with pytest.raises(Unreadable, match=r"it applies 'neg' .* has no rule \(TypeError: cannot reshape"):
        called(lambda A: -A, blocks()[0], layers=SQUARE)


def test_an_array_of_the_size_of_a_wide_layer_is_never_formed():
    wide = Axis("space 0", 3, 10**6)
    A = BlockArray(jnp.eye(3), jnp.asarray(0.5), (wide, wide))
    layers = frozenset({A.shape})
    found = called(lambda A: A @ A.T + jnp.zeros(A.shape) + 2 * jnp.eye(len(A)), A, layers=layers)
    assert float(found.idle) == 2.25
    with pytest.raises(Unreadable, match=r"builds an array of a layer's shape \(random_bits\)"):
        called(lambda A: A + jax.random.normal(jax.random.key(0), A.shape), A, layers=layers)
