"""Where a matrix of a training loop moves: spectra, angles and block energies against a reference, as it trains.

The loop is the user's own. A tracker's state goes through it as one more value; every ``every`` steps it looks.
"""

import functools as ft
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from lawlib.spectra import Triplets, krylov_triplets, matrix_products
from lawlib.subspaces import block_fractions, principal_angles
from lawlib.types import Array, Bool, Float, Int, Matrix, PRNGKey, PyTree

__all__ = ["Records", "Reference", "Track", "Tracker", "tracker"]


class Reference(NamedTuple):
    """Orthonormal bases of the subspaces to compare with, of outputs and inputs: left (m, r) and right (n, s)."""

    left: Float[Array, "m r"]
    right: Float[Array, "n s"]


class Records(NamedTuple):
    """What was seen, one row for each look; ``step`` is -1 in rows that have not been reached.

    ``values`` (T, k), ``bound``, ``certified`` and ``passes`` (T,) are those of ``krylov_triplets``; the angles in
    radians, ascending, are those of the leading subspaces with the reference, left (T, min(k, r)) and right
    (T, min(k, s)); they mean something where ``certified``. ``fractions`` (T, 4) are
    ``subspaces.block_fractions`` with the reference as U_2 and V_2, exact always.
    """

    step: Int[Array, " T"]
    values: Float[Array, "T k"]
    bound: Float[Array, " T"]
    certified: Bool[Array, " T"]
    passes: Int[Array, " T"]
    left_angles: Float[Array, "T _"]
    right_angles: Float[Array, "T _"]
    fractions: Float[Array, "T 4"]


class Track(NamedTuple):
    """The state of a tracker: its key, the last triplets, from which the next look starts, and the records."""

    key: PRNGKey
    triplets: Triplets
    records: Records


class Tracker(NamedTuple):
    """``init(key, value) -> Track`` and ``update(track, step, value) -> Track``, both pure.

    ``value`` is what the loop has at hand; ``init`` looks at its shapes alone.
    """

    init: Callable[[PRNGKey, PyTree], Track]
    update: Callable[[Track, Int[Array, ""], PyTree], Track]


def tracker(
    matrix: Callable[[PyTree], Matrix],
    reference: Reference,
    k: int,
    *,
    every: int,
    num_steps: int,
    oversample: int = 10,
    tolerance: float | None = None,
    max_passes: int = 2,
) -> Tracker:
    """Watch the k leading singular subspaces of ``matrix(value)`` (m, n) in steps 0, every, 2 every, ... < num_steps.

    ``matrix`` picks what is watched from what the loop has at hand and hands to ``update``: a kernel, its change since
    the start, a gradient; it is called in those steps only, under lax.cond. Each look goes on from the last triplets
    with fresh random columns beside them, for at most ``max_passes`` products, and says whether it got there
    (``krylov_triplets``); it never decomposes the matrix. A flat spectrum is recorded as not certified; a look at
    values that are not finite is recorded and forgotten.

    Raises:
        ValueError: every or num_steps below 1; from init and update, a reference of another shape than the matrix, and
            as ``krylov_triplets``.
    """
    for name, given in (("every", every), ("num_steps", num_steps)):
        if given < 1:
            msg = f"{name} must be at least 1, got {given}"
            raise ValueError(msg)
    rows = -(-num_steps // every)
    search = ft.partial(krylov_triplets, k=k, oversample=oversample, tolerance=tolerance, max_passes=max_passes)

    def init(key: PRNGKey, value: PyTree) -> Track:
        watched = jax.eval_shape(matrix, value)
        _check_reference(reference, watched.shape)
        (m, n), dtype = watched.shape, watched.dtype
        keys = jax.random.split(key, 3)
        left, right = (jax.random.normal(keys[i], (d, k), dtype) / d**0.5 for i, d in enumerate((m, n)))
        return Track(keys[2], Triplets(left, jnp.zeros(k, dtype), right), _empty_records(reference, k, rows, dtype))

    def look(track: Track, step: Array, value: PyTree) -> Track:
        watched = matrix(value)
        bases = Reference(*(basis.astype(watched.dtype) for basis in reference))
        found = search(jax.random.fold_in(track.key, step), matrix_products(watched), start=track.triplets)
        seen = Records(
            step=step,
            values=found.triplets.values,
            bound=found.bound,
            certified=found.certified,
            passes=found.passes,
            left_angles=principal_angles(found.triplets.left, bases.left),
            right_angles=principal_angles(found.triplets.right, bases.right),
            fractions=block_fractions(watched, *bases),
        )
        records = jax.tree.map(lambda rows, row: rows.at[step // every].set(row, mode="drop"), track.records, seen)
        finite = jnp.isfinite(found.residual)
        triplets = jax.tree.map(lambda new, old: jnp.where(finite, new, old), found.triplets, track.triplets)
        return track._replace(triplets=triplets, records=records)

    def update(track: Track, step: Int[Array, ""], value: PyTree) -> Track:
        step = jnp.asarray(step, jnp.int32)
        return lax.cond((step >= 0) & (step % every == 0), lambda: look(track, step, value), lambda: track)

    return Tracker(init, update)


def _check_reference(reference: Reference, shape: tuple[int, ...]) -> None:
    given = tuple(basis.shape[0] for basis in reference)
    if given != shape:
        msg = f"the reference's bases need {shape} rows, those of the matrix, got {given}"
        raise ValueError(msg)


def _empty_records(reference: Reference, k: int, rows: int, dtype: DTypeLike) -> Records:
    angles = [jnp.zeros((rows, min(k, basis.shape[1])), dtype) for basis in reference]
    return Records(
        step=jnp.full(rows, -1, jnp.int32),
        values=jnp.zeros((rows, k), dtype),
        bound=jnp.full(rows, jnp.inf, dtype),
        certified=jnp.zeros(rows, bool),
        passes=jnp.zeros(rows, jnp.int32),
        left_angles=angles[0],
        right_angles=angles[1],
        fractions=jnp.zeros((rows, 4), dtype),
    )
