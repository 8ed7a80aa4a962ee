"""One observation of one matrix: its triplets, and where they lie relative to each reference."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from lawlib.linalg.spectra import SVD, Certified, matrix_products
from lawlib.linalg.subspaces import block_fractions, principal_angles
from lawlib.tracking.state import Comparison, Fractions, Observation, Records, Track
from lawlib.tracking.tracked_leaves import Reference, TrackedLeaf
from lawlib.types import Array, Float, Int, Matrix, PRNGKey

__all__ = ["begun", "observed"]


def begun(
    key: PRNGKey,
    tracked: TrackedLeaf,
    leaf: Array,
    reference: Reference | None,
    against: Sequence[str],
    *,
    k: int,
    rows: int,
) -> Track:
    """A track without observations, in the leaf's dtype, and at least float32.

    Its triplets are random, since the first observation starts from them.
    """
    shape = jax.eval_shape(tracked.matrix, leaf).shape
    dtype = leaf.dtype if jnp.finfo(leaf.dtype).bits >= 32 else jnp.dtype(jnp.float32)
    keys = jax.random.split(key)
    left, right = (jax.random.normal(own, (d, k), dtype) / d**0.5 for own, d in zip(keys, shape, strict=True))
    none_yet = Observation(SVD(left, jnp.zeros(k, dtype), right), jnp.asarray(jnp.nan, dtype), jnp.asarray(False))
    columns = dict.fromkeys(against, (k, k))
    if reference is not None:
        columns["reference"] = (reference.left.shape[1], reference.right.shape[1])
    records = Records(
        step=jnp.full(rows, -1, jnp.int32),
        values=jnp.zeros((rows, k), dtype),
        norm=jnp.zeros(rows, dtype),
        bound=jnp.full(rows, jnp.inf, dtype),
        certified=jnp.zeros(rows, bool),
        passes=jnp.zeros(rows, jnp.int32),
        compared={name: _empty(rows, k, count, dtype) for name, count in columns.items()},
    )
    origin = tracked.matrix(leaf) if tracked.change else None
    return Track(none_yet, none_yet if "start" in against else None, origin, records)


def observed(
    search: Callable[..., Certified],
    M: Float[Array, "m n"],
    track: Track,
    step: Int[Array, ""],
    row: Int[Array, ""],
    reference: Reference | None,
) -> tuple[Observation, Observation | None, Records]:
    """The last observation, that of the start and the records, after one of M by ``search(products, start=svd)``.

    An observation of values that are not finite is recorded, and not kept. The start is the first one of a matrix that
    is neither zero nor infinite.
    """
    found = search(matrix_products(M), start=track.last.svd)
    now = Observation(found.svd, found.bound, found.certified)
    finite = jnp.isfinite(found.residual)
    start = None
    if track.start is not None:
        is_first = finite & jnp.isnan(track.start.bound) & (found.svd.values[0] > 0)
        start = _either(is_first, now, track.start)
    references = {"start": start, "last": track.last, "reference": _exact(reference, M.dtype)}
    seen = Records(
        step=step,
        values=found.svd.values,
        norm=_norm(M),
        bound=found.bound,
        certified=found.certified,
        passes=found.passes,
        compared={name: _compared(M, now, references[name]) for name in track.records.compared},
    )
    records = jax.tree.map(lambda rows, one: rows.at[row].set(one, mode="drop"), track.records, seen)
    return _either(finite, now, track.last), start, records


def _compared(M: Matrix, now: Observation, reference: Observation) -> Comparison:
    is_known = ~jnp.isnan(reference.bound)
    errors = [jnp.arcsin(jnp.minimum(bound, 1)) for bound in (now.bound, reference.bound)]
    outside, right_only, left_only, inside = block_fractions(M, reference.svd.left, reference.svd.right)
    compared = Comparison(
        left_angles=principal_angles(now.svd.left, reference.svd.left),
        right_angles=principal_angles(now.svd.right, reference.svd.right),
        error=jnp.minimum(sum(errors), np.pi / 2),
        certified=now.certified & reference.certified,
        fractions=Fractions(inside, left_only, right_only, outside),
    )
    return jax.tree.map(lambda x: x if x.dtype == bool else jnp.where(is_known, x, jnp.nan), compared)


def _exact(reference: Reference | None, dtype: DTypeLike) -> Observation | None:
    """Given bases as an observation that has no error and no values."""
    if reference is None:
        return None
    left, right = (jnp.asarray(basis).astype(dtype) for basis in reference)
    return Observation(SVD(left, jnp.zeros(0, dtype), right), jnp.zeros((), dtype), jnp.asarray(True))


def _either(first: Array, one: Observation, other: Observation) -> Observation:
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), one, other)


def _norm(M: Matrix) -> Array:
    """||M||_F, without under- or overflow of the squares."""
    largest = jnp.max(jnp.abs(M))
    scale = jnp.where(largest > 0, largest, 1)
    return scale * jnp.linalg.norm(M / scale)


def _empty(rows: int, k: int, columns: tuple[int, int], dtype: DTypeLike) -> Comparison:
    nan = jnp.full(rows, jnp.nan, dtype)
    left, right = (jnp.full((rows, min(k, count)), jnp.nan, dtype) for count in columns)
    return Comparison(left, right, nan, jnp.zeros(rows, bool), Fractions(nan, nan, nan, nan))
