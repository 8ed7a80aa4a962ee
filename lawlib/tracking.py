"""Where a matrix of a training loop moves: spectra, angles and block energies against a reference, as it trains.

The loop is the user's own. A tracker's state goes through it as one more value; every ``every`` steps it looks.
"""

import functools as ft
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.spectra import Triplets, krylov_triplets, matrix_products
from lawlib.subspaces import principal_angles
from lawlib.types import Array, Bool, Float, Int, Matrix, PRNGKey, PyTree

__all__ = ["Records", "Reference", "Track", "Tracker", "block_fractions", "tracker"]

_matmul = ft.partial(jnp.matmul, precision="highest")


class Reference(NamedTuple):
    """Orthonormal bases of the subspaces to compare with, of outputs and inputs: left (m, r) and right (n, s)."""

    left: Float[Array, "m r"]
    right: Float[Array, "n s"]


class Records(NamedTuple):
    """What was seen, one row for each look; ``step`` is -1 in rows that have not been reached.

    ``values`` (T, k), ``bound``, ``certified`` and ``passes`` (T,) are those of ``krylov_triplets``; the angles in
    radians, ascending, are those of the leading subspaces with the reference, left (T, min(k, r)) and right
    (T, min(k, s)); they mean something where ``certified``. ``fractions`` (T, 4) are ``block_fractions``, exact always.
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
    """``init(key, matrix) -> Track`` and ``update(track, step, value) -> Track``, both pure."""

    init: Callable[[PRNGKey, Matrix], Track]
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
    (``krylov_triplets``); it never decomposes the matrix. A flat spectrum is recorded as not certified.

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

    def init(key: PRNGKey, matrix: Matrix) -> Track:
        _check_reference(reference, matrix.shape)
        (m, n), dtype = matrix.shape, matrix.dtype
        keys = jax.random.split(key, 3)
        left, right = (jax.random.normal(keys[i], (d, k), dtype) / d**0.5 for i, d in enumerate((m, n)))
        angles = [jnp.zeros((rows, min(k, basis.shape[1])), dtype) for basis in reference]
        empty = Records(
            step=jnp.full(rows, -1, jnp.int32),
            values=jnp.zeros((rows, k), dtype),
            bound=jnp.full(rows, jnp.inf, dtype),
            certified=jnp.zeros(rows, bool),
            passes=jnp.zeros(rows, jnp.int32),
            left_angles=angles[0],
            right_angles=angles[1],
            fractions=jnp.zeros((rows, 4), dtype),
        )
        return Track(keys[2], Triplets(left, jnp.zeros(k, dtype), right), empty)

    def look(track: Track, step: Array, value: PyTree) -> Track:
        watched = matrix(value)
        found = search(jax.random.fold_in(track.key, step), matrix_products(watched), start=track.triplets)
        seen = Records(
            step=step,
            values=found.triplets.values,
            bound=found.bound,
            certified=found.certified,
            passes=found.passes,
            left_angles=principal_angles(found.triplets.left, reference.left),
            right_angles=principal_angles(found.triplets.right, reference.right),
            fractions=block_fractions(watched, reference),
        )
        records = jax.tree.map(lambda rows, row: rows.at[step // every].set(row, mode="drop"), track.records, seen)
        return track._replace(triplets=found.triplets, records=records)

    def update(track: Track, step: Int[Array, ""], value: PyTree) -> Track:
        step = jnp.asarray(step, jnp.int32)
        return lax.cond(step % every == 0, lambda: look(track, step, value), lambda: track)

    return Tracker(init, update)


def block_fractions(M: Float[Array, "m n"], reference: Reference) -> Float[Array, " 4"]:
    """Shares of ||M||_F^2 in the four blocks of the bases [U_1, U_2] and [V_1, V_2], U_1 and V_1 the reference.

    ||U_1^T M V_1||^2, ||U_1^T M V_2||^2, ||U_2^T M V_1||^2, ||U_2^T M V_2||^2 over ||M||_F^2, without U_2 and V_2; each
    keeps its digits however small, since it is the norm of a projection, not a difference of norms. All 0 for M = 0.
    In Xu et al. 2026, "Emergent Low-Rank Training Dynamics in MLPs with Smooth Activations", with bases of S_big's
    complement, these are the energies of the change W(t) - W(0).
    """
    U, V = reference
    largest = jnp.max(jnp.abs(M))
    M = M / jnp.where(largest > 0, largest, 1)
    inside = _matmul(U.T, M)
    outside = M - _matmul(U, inside)
    energies = jnp.stack([energy for rows in (inside, outside) for energy in _split(rows, V)])
    return energies / jnp.where(largest > 0, jnp.sum(energies), 1)


def _split(rows: Array, V: Array) -> tuple[Array, Array]:
    """||rows V||_F^2 and ||rows - rows V V^T||_F^2."""
    along = _matmul(rows, V)
    return jnp.sum(jnp.square(along)), jnp.sum(jnp.square(rows - _matmul(along, V.T)))


def _check_reference(reference: Reference, shape: tuple[int, ...]) -> None:
    given = tuple(basis.shape[0] for basis in reference)
    if given != shape:
        msg = f"the reference's bases need {shape} rows, those of the matrix, got {given}"
        raise ValueError(msg)
