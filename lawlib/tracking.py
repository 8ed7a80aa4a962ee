"""Track a matrix in a training loop: its spectrum, and its angles and block energies relative to a reference.

The loop is the user's own. It carries the tracker's state as one more value; every ``every`` steps the tracker observes
the matrix.
"""

import functools as ft
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.typing import DTypeLike

from lawlib.linalg.spectra import SVD, block_krylov_svd, matrix_products
from lawlib.linalg.subspaces import block_fractions, principal_angles
from lawlib.types import Array, Bool, Float, Int, Matrix, PRNGKey, PyTree, matmul

__all__ = ["Fractions", "Records", "Reference", "Track", "Tracker", "tracker"]


class Reference(NamedTuple):
    """Orthonormal bases of the subspaces to compare with, of outputs and inputs: left (m, r) and right (n, s)."""

    left: Float[Array, "m r"]
    right: Float[Array, "n s"]


class Fractions(NamedTuple):
    """The shares of ||M||_F^2 inside and outside the reference, on the left (outputs) and on the right (inputs).

    With P = left left^T and R = right right^T: ||P M R||^2, ||P M (I - R)||^2, ||(I - P) M R||^2 and
    ||(I - P) M (I - R)||^2 over ||M||^2. They sum to 1; all are NaN for M = 0.
    """

    inside_both: Float[Array, " T"]
    inside_left_only: Float[Array, " T"]
    inside_right_only: Float[Array, " T"]
    inside_neither: Float[Array, " T"]


class Records(NamedTuple):
    """The observations, a row for each; ``step`` is -1 in rows that have not been reached.

    ``values`` (T, k), ``bound``, ``certified`` and ``passes`` (T,) are those of ``block_krylov_svd``; the angles in
    radians, ascending, are those between the leading subspaces and the reference, left (T, min(k, r)) and
    right (T, min(k, s)); they are meaningful where ``certified``. ``fractions`` are always exact. Without a reference
    the angles and the fractions are None.
    """

    step: Int[Array, " T"]
    values: Float[Array, "T k"]
    bound: Float[Array, " T"]
    certified: Bool[Array, " T"]
    passes: Int[Array, " T"]
    left_angles: Float[Array, "T _"] | None
    right_angles: Float[Array, "T _"] | None
    fractions: Fractions | None


class Track(NamedTuple):
    """The state of a tracker: its key, the last triplets, from which the next observation starts, and the records."""

    key: PRNGKey
    svd: SVD
    records: Records


class Tracker(NamedTuple):
    """``init(key, value) -> Track`` and ``update(track, step, value) -> Track``, both pure.

    ``value`` is any pytree of the loop, such as its weights; ``init`` uses its shapes only.
    """

    init: Callable[[PRNGKey, PyTree], Track]
    update: Callable[[Track, Int[Array, ""], PyTree], Track]


def tracker(
    matrix: Callable[[PyTree], Matrix],
    reference: Reference | None,
    k: int,
    *,
    every: int,
    num_steps: int,
    oversample: int = 10,
    tolerance: float | None = None,
    max_passes: int = 2,
) -> Tracker:
    """Monitor the k leading singular subspaces of ``matrix(value)`` (m, n) in steps 0, every, 2 every, ... < num_steps.

    ``matrix(value)`` is the monitored matrix: a kernel, its change since the start, a gradient. It is called in these
    steps only, under lax.cond. Each observation starts from the last triplets and new random columns, takes at most
    ``max_passes`` products, and is certified or not (``block_krylov_svd``); the matrix is never decomposed. A flat
    spectrum is recorded as not certified. After an observation of values that are not finite, the next one starts from
    the triplets before it. With ``reference`` None no angles and fractions are computed.

    Raises:
        ValueError: every or num_steps is below 1, or a basis of the reference is not orthonormal; from init, the
            shapes of the reference and the matrix differ, matrix(value) is not a matrix, and as ``block_krylov_svd``.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> W = jax.random.normal(jax.random.key(0), (20, 10))
        >>> watch = lawlib.tracker(lambda weights: weights, None, k=2, every=5, num_steps=10)
        >>> track = watch.init(jax.random.key(1), W)
        >>> for step in range(10):  # a training loop
        ...     W = 0.9 * W
        ...     track = watch.update(track, jnp.asarray(step), W)
        >>> track.records.step.tolist(), track.records.values.shape
        ([0, 5], (2, 2))
    """
    for name, given in (("every", every), ("num_steps", num_steps)):
        if given < 1:
            msg = f"{name} must be at least 1, got {given}"
            raise ValueError(msg)
    _check_orthonormal(reference)
    rows = -(-num_steps // every)
    search = ft.partial(block_krylov_svd, k=k, oversample=oversample, tolerance=tolerance, max_passes=max_passes)

    def init(key: PRNGKey, value: PyTree) -> Track:
        monitored = jax.eval_shape(matrix, value)
        _check_shape(reference, monitored)
        (m, n), dtype = monitored.shape, monitored.dtype
        keys = jax.random.split(key, 3)
        left, right = (jax.random.normal(keys[i], (d, k), dtype) / d**0.5 for i, d in enumerate((m, n)))
        track = Track(keys[2], SVD(left, jnp.zeros(k, dtype), right), _empty_records(reference, k, rows, dtype))
        # Errors of an observation are raised here, before a loop is compiled around it.
        jax.eval_shape(observe, track, jnp.zeros((), jnp.int32), value)
        return track

    def observe(track: Track, step: Array, value: PyTree) -> Track:
        monitored = matrix(value)
        found = search(jax.random.fold_in(track.key, step), matrix_products(monitored), start=track.svd)
        seen = Records(
            step=step,
            values=found.svd.values,
            bound=found.bound,
            certified=found.certified,
            passes=found.passes,
            **_compared(monitored, found.svd, reference),
        )
        records = jax.tree.map(lambda rows, row: rows.at[step // every].set(row, mode="drop"), track.records, seen)
        finite = jnp.isfinite(found.residual)
        svd = jax.tree.map(lambda new, old: jnp.where(finite, new, old), found.svd, track.svd)
        return track._replace(svd=svd, records=records)

    def update(track: Track, step: Int[Array, ""], value: PyTree) -> Track:
        step = jnp.asarray(step, jnp.int32)
        return lax.cond((step >= 0) & (step % every == 0), lambda: observe(track, step, value), lambda: track)

    return Tracker(init, update)


def _compared(matrix: Matrix, svd: SVD, reference: Reference | None) -> dict[str, Any]:
    if reference is None:
        return {"left_angles": None, "right_angles": None, "fractions": None}
    left, right = (basis.astype(matrix.dtype) for basis in reference)
    outside, right_only, left_only, inside = block_fractions(matrix, left, right)
    return {
        "left_angles": principal_angles(svd.left, left),
        "right_angles": principal_angles(svd.right, right),
        "fractions": Fractions(inside, left_only, right_only, outside),
    }


def _check_orthonormal(reference: Reference | None) -> None:
    for side, basis in () if reference is None else reference._asdict().items():
        basis = jnp.asarray(basis)  # NumPy's float64 is float32 to JAX, unless x64 is on
        if basis.ndim != 2:
            msg = f"the reference's {side} basis needs the shape (rows, columns), got {basis.shape}"
            raise ValueError(msg)
        rows, columns = basis.shape
        if not 1 <= columns <= rows:
            msg = f"the reference's {side} basis needs 1 to {rows} columns, as many as it has rows, got {columns}"
            raise ValueError(msg)
        off = jnp.linalg.norm(matmul(basis.T, basis) - jnp.eye(columns, dtype=basis.dtype))
        if not isinstance(off, Tracer) and not off <= 100 * rows**0.5 * jnp.finfo(basis.dtype).eps:
            msg = (
                f"the reference's {side} basis is not orthonormal: ||B^T B - I||_F is {off:.2g}; "
                "give jnp.linalg.qr(B)[0], a basis of the same span"
            )
            raise ValueError(msg)


def _check_shape(reference: Reference | None, monitored: PyTree) -> None:
    shape = monitored.shape if isinstance(monitored, jax.ShapeDtypeStruct) else None
    if shape is None or len(shape) != 2:
        given = f"a tree of {jax.tree.map(jnp.shape, monitored)}" if shape is None else f"shape {shape}"
        msg = f"matrix(value) must be a matrix, got {given}"
        raise ValueError(msg)
    given = shape if reference is None else tuple(basis.shape[0] for basis in reference)
    if given != shape:
        msg = f"the reference's bases need {shape} rows, those of the matrix, got {given}"
        raise ValueError(msg)


def _empty_records(reference: Reference | None, k: int, rows: int, dtype: DTypeLike) -> Records:
    angles, shares = [None, None], None
    if reference is not None:
        angles = [jnp.zeros((rows, min(k, basis.shape[1])), dtype) for basis in reference]
        shares = Fractions(*[jnp.zeros(rows, dtype)] * 4)
    return Records(
        step=jnp.full(rows, -1, jnp.int32),
        values=jnp.zeros((rows, k), dtype),
        bound=jnp.full(rows, jnp.inf, dtype),
        certified=jnp.zeros(rows, bool),
        passes=jnp.zeros(rows, jnp.int32),
        left_angles=angles[0],
        right_angles=angles[1],
        fractions=shares,
    )
