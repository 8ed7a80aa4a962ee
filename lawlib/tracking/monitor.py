"""Track matrices in a training loop: their spectra, and their angles and block energies relative to references.

The loop is the user's own, and carries the tracker's state as one more value; or the tracker is a part of the
optimizer, whose state carries it. Every ``every`` steps the tracker observes the matrices.
"""

import functools as ft
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lawlib.checks import refuse, whole_fault
from lawlib.linalg.leaves import Where
from lawlib.linalg.spectra import block_krylov_svd
from lawlib.tracking.observations import begun, observed
from lawlib.tracking.state import Observation, Records, Track, Tracks, TransformState
from lawlib.tracking.tracked_leaves import (
    Reference,
    TrackedLeaf,
    check_all,
    check_shapes,
    check_unchanged,
    each_tracked,
    leaves,
)
from lawlib.types import Array, Int, PRNGKey, PyTree

__all__ = ["Tracker", "tracker"]

OF = ("updates", "params")


class Tracker(NamedTuple):
    """``init(key, value) -> Tracks`` and ``update(tracks, step, value) -> Tracks``, both pure.

    ``value`` is any tree that has the leaves: parameters, gradients, updates, an Equinox or NNX model. ``init`` uses
    its shapes, and its values where the change since the start is monitored. ``tracked`` has what is monitored.
    """

    init: Callable[[PRNGKey, PyTree], Tracks]
    update: Callable[[Tracks, Int[Array, ""] | int, PyTree], Tracks]
    tracked: Mapping[str, TrackedLeaf]

    def transform(self, key: PRNGKey, *, of: str = "updates") -> optax.GradientTransformationExtraArgs:
        """The tracker as a transformation that changes no update; its state is a ``TransformState``.

        With ``of`` "updates" it monitors what it is passed: gradients where it comes first in ``optax.chain``, the
        updates of the parameters where it comes last. With "params" it monitors the parameters that ``update`` is
        called with, those before the step. Step t is the t-th call of ``update``, from 0. A state that is made under
        vmap has a step for each member, and each step then computes an observation: make the state in the function
        that is mapped.

        Raises:
            ValueError: ``of`` is another word, or a change is monitored and ``of`` is not "params"; from update, ``of``
                is "params" and there are none.
        """
        changes = [name for name, one in self.tracked.items() if one.change]
        if of not in OF:
            msg = f"of must be one of {OF}, got {of!r}"
            raise ValueError(msg)
        if changes and of != "params":
            msg = (
                f"the change of {changes} is that of the parameters: pass of='params', or watch it without change=True"
            )
            raise ValueError(msg)

        def init(params: PyTree) -> TransformState:
            return TransformState(jnp.zeros((), jnp.int32), self.init(key, params))

        def update(
            updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
        ) -> tuple[PyTree, TransformState]:
            del extra_args
            if of == "params" and params is None:
                msg = "this tracker monitors parameters (of='params'): call update(updates, state, params)"
                raise ValueError(msg)
            tracks = self.update(state.tracks, state.step, updates if of == "updates" else params)
            return updates, TransformState(jnp.asarray(optax.safe_increment(state.step)), tracks)

        return optax.GradientTransformationExtraArgs(init, update)


def tracker(
    matrices: Mapping[str, Where | TrackedLeaf],
    k: int,
    *,
    every: int,
    num_steps: int,
    reference: Mapping[str, Reference] | None = None,
    against: Sequence[str] = ("start",),
    oversample: int = 10,
    tolerance: float | None = None,
    max_passes: int = 2,
) -> Tracker:
    """Monitor the k leading singular subspaces of matrices (m, n) in steps 0, every, 2 every, ... < num_steps.

    ``matrices`` maps names to leaves of a tree, by a function or a path, or to a ``TrackedLeaf``, which also has the
    matricization of a leaf that is no matrix, or asks for the change since the start. Every observation is made under
    lax.cond, starts from the last triplets and new random columns, takes at most ``max_passes`` products, and is
    certified or not (``block_krylov_svd``); no matrix is decomposed. A flat spectrum is recorded as not certified.
    After an observation of values that are not finite, the next one starts from the triplets before it. Leaves in half
    precision are observed in float32.

    ``reference`` has given bases, by the matrix's name. ``against`` names what each matrix is compared with besides:
    "start", its leading subspaces at the first observation (of a change, the first that is not zero), and "last",
    those at the observation before. Either takes (m + n) k numbers in the state, a change m n.

    Raises:
        TypeError: ``matrices`` is no mapping from names to leaves.
        ValueError: it is empty; k, every or num_steps is no whole number or below 1; a reference has no matrix or is
            not orthonormal; ``against`` has another word. From init, and all at once: a leaf that ``leaves.pick``
            refuses, that is no matrix, or that is smaller than k; a reference of another shape; and as
            ``block_krylov_svd``.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> params = {"dense": {"kernel": jax.random.normal(jax.random.key(0), (20, 10))}}
        >>> watch = lawlib.tracker({"dense": lambda params: params["dense"]["kernel"]}, k=2, every=5, num_steps=10)
        >>> tracks = watch.init(jax.random.key(1), params)
        >>> for step in range(10):  # a training loop
        ...     params = jax.tree.map(lambda W: 0.9 * W, params)
        ...     tracks = watch.update(tracks, jnp.asarray(step), params)
        >>> found = lawlib.tracking.records(tracks)["dense"]
        >>> found.step.tolist(), found.values.shape
        ([0, 5], (2, 2))
    """
    refuse(
        *(whole_fault(name, given, least=1) for name, given in (("k", k), ("every", every), ("num_steps", num_steps)))
    )
    tracked, references = each_tracked(matrices), dict(reference or {})
    check_all(tracked, references, against)
    references = {name: Reference(*map(jnp.asarray, bases)) for name, bases in references.items()}
    search = ft.partial(block_krylov_svd, k=k, oversample=oversample, tolerance=tolerance, max_passes=max_passes)

    def init(key: PRNGKey, value: PyTree) -> Tracks:
        picked = leaves(tracked, value)
        check_shapes(tracked, picked, references, k)
        rows, matrices = -(-num_steps // every), {}
        key_start, key_searches = jax.random.split(key)
        for i, (name, leaf) in enumerate(picked.items()):
            own = jax.random.fold_in(key_start, i)
            matrices[name] = begun(own, tracked[name], leaf, references.get(name), against, k=k, rows=rows)
        begin = Tracks(key_searches, matrices)
        # Errors of an observation are raised here, before a loop is compiled around it.
        jax.eval_shape(observe, begin, jnp.zeros((), jnp.int32), picked)
        return begin

    def observe(tracks: Tracks, step: Array, picked: dict[str, Array]) -> dict[str, tuple]:
        seen, key = {}, jax.random.fold_in(tracks.key, step)
        for i, (name, leaf) in enumerate(picked.items()):
            track = tracks.matrices[name]
            M = tracked[name].matrix(leaf).astype(track.records.values.dtype)
            M = M if track.origin is None else M - track.origin.astype(M.dtype)
            own = ft.partial(search, jax.random.fold_in(key, i))
            seen[name] = observed(own, M, track, step, step // every, references.get(name))
        return seen

    def update(tracks: Tracks, step: Int[Array, ""] | int, value: PyTree) -> Tracks:
        step, picked = jnp.asarray(step, jnp.int32), leaves(tracked, value)
        check_unchanged(tracked, picked, tracks)
        # An observation reads the initial matrices: cond returns the rest, so that they are never copied.
        before = {name: (one.last, one.start, one.records) for name, one in tracks.matrices.items()}
        after = lax.cond((step >= 0) & (step % every == 0), lambda: observe(tracks, step, picked), lambda: before)
        return Tracks(tracks.key, {name: _with(one, *after[name]) for name, one in tracks.matrices.items()})

    return Tracker(init, update, tracked)


def _with(track: Track, last: Observation, start: Observation | None, records: Records) -> Track:
    return track._replace(last=last, start=start, records=records)
