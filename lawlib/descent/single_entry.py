"""SGD on single observed entries of a deep linear network, by matrix-vector products.

An entry A_ij of A = W_L ... W_1 needs the column h_l = W_l ... W_1 e_j and the row g_l = e_i^T W_L ... W_{l+1}; the
gradient of (A*_ij - A_ij)^2 with respect to W_l is -2 (A*_ij - A_ij) g_l h_{l-1}^T, of rank one. A step costs
O(L w^2) for width w, and no product of two w x w matrices is formed.

Wang and Jacot 2024, "Implicit bias of SGD in L2-regularized linear DNNs: One-way jumps from high to low rank", prints
two forms of the update, and a third one reproduces its figures; a ``Form`` is the coefficients of one of them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lawlib.types import Array, Float, Int, Matrix, Number, PRNGKey, Scalar, Vector, Weights, matmul

__all__ = [
    "FORMS",
    "Entry",
    "Form",
    "RankOne",
    "Tracked",
    "check_entry",
    "converted",
    "draw_entries",
    "entry_error",
    "entry_gradients",
    "entry_step",
    "form",
    "track",
    "tracked_step",
]


class Entry(NamedTuple):
    """One observed entry: A*_ij = value at i = row, j = column (from 0), each possibly traced."""

    row: Int[Array, ""] | int
    column: Int[Array, ""] | int
    value: Number


class RankOne(NamedTuple):
    """The matrix left right^T."""

    left: Vector
    right: Vector


class Tracked(NamedTuple):
    """Weights, and for every input coordinate j the columns h_l = W_l ... W_1 e_j, l = 1, ..., L."""

    weights: tuple[Matrix, ...]
    columns: tuple[tuple[Vector, ...], ...]

    @property
    def product(self) -> Matrix:
        """A = W_L ... W_1, shape (d_L, d_0), without a product."""
        return jnp.stack([column[-1] for column in self.columns], axis=1)


class Form(NamedTuple):
    """The coefficients of an update: theta <- (1 - decay eta lambda) theta - gradient eta grad (A*_ij - A_ij)^2."""

    decay: float
    gradient: float


# The update that reproduces the figures, that of the main text (Section 3) and that of the appendix (Theorem B.1,
# Section D).
FORMS = {"figures": Form(1.0, 1.0), "main_text": Form(2.0, 0.5), "appendix": Form(1.0, 0.5)}


def form(name: str) -> Form:
    """The update form of this name: "figures", "main_text" or "appendix".

    Raises:
        ValueError: there is no such form.
    """
    if name not in FORMS:
        msg = f"the form of an update must be one of {', '.join(map(repr, FORMS))}, got {name!r}"
        raise ValueError(msg)
    return FORMS[name]


def converted(*, step_size: Number, weight_decay: Number, source: Form, target: Form) -> tuple[Number, Number]:
    """The (eta, lambda) with which ``target`` makes the same step as ``source`` with the given ones.

    eta' = eta gradient/gradient', lambda' = lambda (decay/decay') (gradient'/gradient): from "figures" to "main_text"
    (2 eta, lambda/4), to "appendix" (2 eta, lambda/2).
    """
    ratio = source.gradient / target.gradient
    return step_size * ratio, weight_decay * (source.decay / target.decay / ratio)


def check_entry(shape: tuple[int, int], *, row: int, column: int) -> None:
    """Check that an entry is inside a matrix of this shape; indexing by a traced number would clamp it silently.

    Raises:
        ValueError: row is outside 0..shape[0] - 1 or column outside 0..shape[1] - 1.
    """
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        msg = f"an entry of a {shape[0]} x {shape[1]} matrix has row < {shape[0]} and column < {shape[1]}, from 0; "
        msg += f"got ({row}, {column})"
        raise ValueError(msg)


def draw_entries(key: PRNGKey, *, num_entries: int, num_steps: int, replacement: bool) -> Int[Array, " num_steps"]:
    """The number, in 0..N-1 with N = num_entries, of the observed entry of every step, drawn uniformly.

    With replacement the numbers are independent. Without replacement, every N steps are an epoch that contains each
    entry once, in a new random order.

    Raises:
        ValueError: num_entries is not positive, or num_steps is negative.
    """
    if num_entries < 1 or num_steps < 0:
        msg = f"draws need at least one entry and at least 0 steps, got {num_entries} entries, {num_steps} steps"
        raise ValueError(msg)
    if replacement:
        return jax.random.randint(key, (num_steps,), 0, num_entries, jnp.int32)
    epochs = -(-num_steps // num_entries)
    order = jnp.argsort(jax.random.uniform(key, (epochs, num_entries)), axis=1)
    return order.astype(jnp.int32).ravel()[:num_steps]


def entry_error(weights: Weights, entry: Entry) -> Scalar:
    """A*_ij - A_ij with A = W_L ... W_1; the loss of one step is its square (no factor 1/2).

    Raises:
        ValueError: there are fewer than two layers, or the entry is outside A.
    """
    _check(weights, entry)
    return entry.value - matmul(_ahead(weights, entry.column)[-1], _unit(entry.row, weights[-1].shape[0], weights[-1]))


def entry_gradients(weights: Weights, entry: Entry) -> tuple[RankOne, ...]:
    """The gradient of (A*_ij - A_ij)^2 with respect to each layer, -2 (A*_ij - A_ij) g_l h_{l-1}^T, never formed.

    Raises:
        ValueError: as ``entry_error`` does.
    """
    _check(weights, entry)
    ahead = _ahead(weights, entry.column)
    back = _back(weights, entry.row)
    scale = -2 * (entry.value - matmul(back[-1], ahead[-1]))
    return tuple(RankOne(scale * left, right) for left, right in zip(back, ahead, strict=False))


def entry_step(
    weights: Weights, entry: Entry, update: Form, *, step_size: Number, weight_decay: Number
) -> tuple[Matrix, ...]:
    """One step of SGD: W_l <- (1 - decay eta lambda) W_l - gradient eta grad_l (A*_ij - A_ij)^2, all layers at once.

    eta = step_size and lambda = weight_decay, possibly traced, in the units of the form ``update``.

    Raises:
        ValueError: as ``entry_error`` does.
    """
    _check(weights, entry)
    return _step_from(weights, _ahead(weights, entry.column), entry, update, step_size, weight_decay)


def track(weights: Weights) -> Tracked:
    """Weights together with their columns, as ``tracked_step`` takes them."""
    return Tracked(weights, tuple(_ahead(weights, j)[1:] for j in range(weights[0].shape[1])))


def tracked_step(tracked: Tracked, entry: Entry, update: Form, *, step_size: Number, weight_decay: Number) -> Tracked:
    """The step of ``entry_step``, with the columns of A for the new weights, so that A is available after every step.

    For each input coordinate after the first it costs one more matrix-vector product per layer, and is meant for few
    coordinates.

    Raises:
        ValueError: as ``entry_error`` does.
    """
    weights, columns = tracked
    _check(weights, entry)
    chosen = _unit(entry.column, len(columns), weights[0])
    ahead = (chosen, *(sum(chosen[j] * h for j, h in enumerate(layer)) for layer in zip(*columns, strict=True)))
    return track(_step_from(weights, ahead, entry, update, step_size, weight_decay))


def _step_from(
    weights: Weights, ahead: tuple, entry: Entry, update: Form, step_size: Number, weight_decay: Number
) -> tuple[Matrix, ...]:
    """The rank-one update and the decay of every layer, in one pass over each."""
    back = _back(weights, entry.row)
    error = entry.value - matmul(back[-1], ahead[-1])
    keep = 1 - update.decay * step_size * weight_decay
    pull = 2 * update.gradient * step_size * error
    return tuple(keep * W + (pull * g)[:, None] * h[None, :] for W, g, h in zip(weights, back, ahead[:-1], strict=True))


def _ahead(weights: Weights, column: Int[Array, ""] | int) -> tuple[Vector, ...]:
    """The columns e_j = h_0, h_1, ..., h_L = A e_j."""
    chain = [_unit(column, weights[0].shape[1], weights[0])]
    for W in weights:
        chain.append(matmul(W, chain[-1]))
    return tuple(chain)


def _back(weights: Weights, row: Int[Array, ""] | int) -> tuple[Vector, ...]:
    """The rows g_1, ..., g_L = e_i as vectors, g_l = W_{l+1}^T g_{l+1}."""
    chain = [_unit(row, weights[-1].shape[0], weights[-1])]
    for W in weights[:0:-1]:
        chain.append(matmul(chain[-1], W))
    return tuple(chain[::-1])


def _unit(index: Int[Array, ""] | int, size: int, like: Matrix) -> Float[Array, " _"]:
    # A product with a unit vector selects a row or a column; under vmap it costs less than a gather.
    return (jnp.arange(size) == index).astype(like.dtype)


def _check(weights: Weights, entry: Entry) -> None:
    if len(weights) < 2:
        msg = f"a deep linear network needs at least two layers, got {len(weights)}"
        raise ValueError(msg)
    if isinstance(entry.row, int) and isinstance(entry.column, int):
        check_entry((weights[-1].shape[0], weights[0].shape[1]), row=entry.row, column=entry.column)
