"""Which matrices a tracker monitors and what it compares them with, and the refusal of what it cannot monitor."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lawlib.checks import is_concrete
from lawlib.frameworks.nnx import functional, holds_modules
from lawlib.linalg.leaves import Where, pick
from lawlib.linalg.matricization import Matricization
from lawlib.tracking.state import Tracks
from lawlib.types import Array, Float, Matrix, PyTree, matmul

__all__ = [
    "AGAINST",
    "Reference",
    "TrackedLeaf",
    "check_all",
    "check_shapes",
    "check_unchanged",
    "each_tracked",
    "leaves",
]

# What a matrix can be compared with besides given bases: its own earlier triplets.
AGAINST = ("start", "last")


class Reference(NamedTuple):
    """Orthonormal bases to compare a matrix (m, n) with, of its left (m, r) and right (n, s) singular vectors."""

    left: Float[Array, "m r"]
    right: Float[Array, "n s"]


class TrackedLeaf(NamedTuple):
    """A leaf of a tree, how it is read as a matrix, and whether its change since the start is monitored instead.

    ``where`` is a function that picks the leaf and computes nothing, or the leaf's path (``leaves.pick``). A leaf with
    two axes needs no ``matricization``. With ``change`` the matrix is W(t) - W(0), W(0) being the leaf that ``init``
    sees; it is kept, which takes as much memory as the matrix.
    """

    where: Where
    matricization: Matricization | None = None
    change: bool = False

    def matrix(self, leaf: Array) -> Matrix:
        """The matrix (m, n) of the leaf, in its own dtype."""
        return jnp.asarray(leaf) if self.matricization is None else self.matricization.matrix(leaf)


def each_tracked(matrices: Any) -> dict[str, TrackedLeaf]:
    """A ``TrackedLeaf`` for each name.

    Raises:
        TypeError: ``matrices`` is no mapping of names to what picks a leaf.
        ValueError: it is empty.
    """
    form = 'matrices must map names to leaves, {"first": "params/Dense_0/kernel"} or {"first": lambda p: p["kernel"]}'
    if not isinstance(matrices, Mapping):
        msg = f"{form}, got {type(matrices).__name__}"
        raise TypeError(msg)
    if not matrices:
        msg = f"{form}, got none"
        raise ValueError(msg)
    wrong = [
        f"{name!r}: {one!r}"
        for name, one in matrices.items()
        if not isinstance(name, str) or not (isinstance(one, str | TrackedLeaf) or callable(one))
    ]
    if wrong:
        msg = f"{form} or TrackedLeaf(where, matricization, change), got {', '.join(wrong)}"
        raise TypeError(msg)
    return {name: one if isinstance(one, TrackedLeaf) else TrackedLeaf(one) for name, one in matrices.items()}


def leaves(tracked: Mapping[str, TrackedLeaf], value: PyTree) -> dict[str, Array]:
    """The leaf of each name in a tree or an NNX model.

    Raises:
        ValueError: as ``leaves.pick``, with the names, all at once.
    """
    state, functions = value, {name: one.where for name, one in tracked.items()}
    if holds_modules(value):
        for name, where in functions.items():
            _, state, functions[name] = functional(lambda *_: jnp.zeros(()), value, where)
    found, problems = {}, []
    for name, where in functions.items():
        try:
            found[name] = pick(state, where).value
        except ValueError as error:
            problems.append(f"{name!r}: {error}")
    _raise(problems)
    return found


def check_all(tracked: Mapping[str, TrackedLeaf], references: Mapping[str, Any], against: Sequence[str]) -> None:
    """Refuse references that are no orthonormal bases or belong to no matrix, and unknown words in ``against``.

    Raises:
        ValueError: with all that is wrong.
    """
    problems = []
    if isinstance(against, str) or len(set(against)) < len(against) or not set(against) <= set(AGAINST):
        problems.append(f"against must be a tuple of {AGAINST}, each at most once, got {against!r}")
    unknown = sorted(set(references) - set(tracked))
    if unknown:
        problems.append(f"there is a reference for {unknown}, the matrices are {sorted(tracked)}")
    for name, reference in references.items():
        problems += [f"{name!r}: {problem}" for problem in _faults_of_reference(reference)]
    _raise(problems)


def check_shapes(
    tracked: Mapping[str, TrackedLeaf], picked: Mapping[str, Array], references: Mapping[str, Reference], k: int
) -> None:
    """Refuse leaves that are no matrices, too small for k, or of other shapes than their references.

    Raises:
        ValueError: with all that is wrong.
    """
    problems = []
    for name, leaf in picked.items():
        problems += [f"{name!r}: {one}" for one in _faults_of_leaf(tracked[name], leaf, references.get(name), k)]
    _raise(problems)


def check_unchanged(tracked: Mapping[str, TrackedLeaf], picked: Mapping[str, Array], tracks: Tracks) -> None:
    """Refuse leaves of other shapes than at the start, and a state of another tracker.

    Raises:
        ValueError: with all that is wrong.
    """
    problems = []
    if set(tracks.matrices) != set(picked):
        problems.append(f"this state is that of a tracker of {sorted(tracks.matrices)}, not of {sorted(picked)}")
    for name in sorted(set(picked) & set(tracks.matrices)):
        svd = tracks.matrices[name].last.svd
        before, now = (len(svd.left), len(svd.right)), _matrix_shape(tracked[name], picked[name])
        if now != before:
            problems.append(f"{name!r}: the matrix had the shape {before} in init, got {now}")
    _raise(problems)


def _matrix_shape(tracked: TrackedLeaf, leaf: Array) -> tuple[int, ...]:
    return jax.eval_shape(tracked.matrix, leaf).shape


def _faults_of_leaf(tracked: TrackedLeaf, leaf: Array, reference: Reference | None, k: int) -> Iterator[str]:
    if tracked.matricization is None and leaf.ndim != 2:
        yield (
            f"the leaf of shape {leaf.shape} is no matrix: say which axes are rows and columns, "
            "TrackedLeaf(where, Matricization(reduction_axis, output_axis))"
        )
        return
    try:
        shape = _matrix_shape(tracked, leaf)
    except ValueError as error:
        yield f"the leaf does not fit its matricization: {error}"
        return
    if k > min(shape):
        yield f"k must be in 1..{min(shape)} for a matrix of shape {shape}, got {k}"
    if reference is not None and tuple(basis.shape[0] for basis in reference) != shape:
        rows = tuple(basis.shape[0] for basis in reference)
        yield f"the reference's bases need {shape} rows, those of the matrix, got {rows}"


def _faults_of_reference(reference: Any) -> Iterator[str]:
    if not isinstance(reference, tuple) or len(reference) != 2:
        yield f"a reference is Reference(left, right), got {type(reference).__name__}"
        return
    for side, given in zip(Reference._fields, reference, strict=True):
        basis = jnp.asarray(given)  # NumPy's float64 is float32 to JAX, unless x64 is on
        if basis.ndim != 2:
            yield f"the reference's {side} basis needs the shape (rows, columns), got {basis.shape}"
            continue
        rows, columns = basis.shape
        if not 1 <= columns <= rows:
            yield f"the reference's {side} basis needs 1 to {rows} columns, as many as it has rows, got {columns}"
            continue
        if not jnp.issubdtype(basis.dtype, jnp.floating):
            yield f"the reference's {side} basis must have a real floating dtype, got {basis.dtype}"
            continue
        off = jnp.linalg.norm(matmul(basis.T, basis) - jnp.eye(columns, dtype=basis.dtype))
        if is_concrete(off) and not off <= 100 * rows**0.5 * jnp.finfo(basis.dtype).eps:
            yield (
                f"the reference's {side} basis is not orthonormal: ||B^T B - I||_F is {off:.2g}; "
                "give jnp.linalg.qr(B)[0], a basis of the same span"
            )


def _raise(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError("\n".join(problems))
