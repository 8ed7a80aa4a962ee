"""What a tracker carries and records, as plain data, and how the records are found in an optimizer's state."""

from typing import Any, NamedTuple

import jax

from lawlib.linalg.spectra import SVD
from lawlib.types import Array, Bool, Float, Int, Matrix, PRNGKey, PyTree, Scalar

__all__ = ["Comparison", "Fractions", "Observation", "Records", "Track", "Tracks", "TransformState", "records"]


class Fractions(NamedTuple):
    """The shares of ||M||_F^2 inside and outside a reference, on the left (rows) and on the right (columns).

    With P = left left^T and R = right right^T: ||P M R||^2, ||P M (I - R)||^2, ||(I - P) M R||^2 and
    ||(I - P) M (I - R)||^2 over ||M||^2. They sum to 1; all are NaN for M = 0.
    """

    inside_both: Float[Array, " T"]
    inside_left_only: Float[Array, " T"]
    inside_right_only: Float[Array, " T"]
    inside_neither: Float[Array, " T"]


class Comparison(NamedTuple):
    """The observations relative to a reference of r left and s right directions, NaN before there is one.

    The angles in radians, ascending, are those between the leading subspaces and the reference, left (T, min(k, r)) and
    right (T, min(k, s)). Each differs by at most ``error`` radians from that of the exact subspaces: the sum of
    arcsin(bound) for the observed triplets and, where the reference was itself observed, for it; pi/2 says nothing.
    ``certified`` says that both are certified. ``fractions`` are exact for the bases compared with.
    """

    left_angles: Float[Array, "T _"]
    right_angles: Float[Array, "T _"]
    error: Float[Array, " T"]
    certified: Bool[Array, " T"]
    fractions: Fractions


class Records(NamedTuple):
    """The observations of a matrix M, a row for each; ``step`` is -1 in rows that have not been reached.

    ``values`` (T, k), ``bound``, ``certified`` and ``passes`` (T,) are those of ``block_krylov_svd``, ``norm`` (T,) is
    ||M||_F. ``compared`` has the comparisons with "start", "last" and "reference", those that were asked for.
    """

    step: Int[Array, " T"]
    values: Float[Array, "T k"]
    norm: Float[Array, " T"]
    bound: Float[Array, " T"]
    certified: Bool[Array, " T"]
    passes: Int[Array, " T"]
    compared: dict[str, Comparison]


class Observation(NamedTuple):
    """Observed triplets and their certificate; the bound is NaN before the first observation."""

    svd: SVD
    bound: Scalar
    certified: Bool[Array, ""]


class Track(NamedTuple):
    """What is carried for one matrix: the last triplets, those of the start, the initial matrix, and the records.

    ``start`` is None unless it is compared with, and ``origin`` is None unless the change is monitored.
    """

    last: Observation
    start: Observation | None
    origin: Matrix | None
    records: Records


class Tracks(NamedTuple):
    """The state of a tracker: its key, and what is carried for each matrix, by name."""

    key: PRNGKey
    matrices: dict[str, Track]


class TransformState(NamedTuple):
    """The state of ``Tracker.transform``: the number of updates so far, and the tracker's own state."""

    step: Int[Array, ""]
    tracks: Tracks


def records(state: PyTree) -> dict[str, Records]:
    """The records of all trackers in a state, by the names of the matrices.

    ``state`` is a tracker's own state, or anything that contains it: the state of an optimizer, however nested, a
    ``TrainState`` of Flax, an ``nnx.Optimizer``.

    Raises:
        ValueError: there is no tracker in it, or two trackers have a matrix of the same name.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib, optax
        >>> from lawlib.tracking import records
        >>> monitor = lawlib.tracker({"kernel": "kernel"}, k=2, every=1, num_steps=3)
        >>> optimizer = optax.chain(monitor.transform(jax.random.key(0)), optax.adam(0.1))
        >>> state = optimizer.init({"kernel": jnp.eye(5)})
        >>> records(state)["kernel"].values.shape
        (3, 2)
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Tracks))
    found = [node for node in nodes if isinstance(node, Tracks)]
    names = [name for tracks in found for name in tracks.matrices]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not found or twice:
        msg = f"two trackers in this state have a matrix {twice}: name their matrices differently"
        if not found:
            msg = f"there is no tracker in this state, {type(state).__name__}: pass a tracker's or an optimizer's state"
        raise ValueError(msg)
    return {
        name: jax.tree.map(_array, track.records, is_leaf=_is_array) for one in found for name, track in one[1].items()
    }


def _is_array(node: Any) -> bool:
    return not isinstance(node, tuple | dict)


def _array(node: Any) -> Array:
    """The array itself: an ``nnx.Optimizer`` keeps each one in a variable."""
    (array,) = jax.tree.leaves(node)
    return array
