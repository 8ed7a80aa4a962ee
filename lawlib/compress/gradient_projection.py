"""GaLore without a decomposition of the gradient: an optimizer in a subspace, which is refreshed when an angle asks.

A gradient G (m, n), m >= n, is projected on the span of P (m, r), P^T P = I: the inner optimizer sees P^T G (r, n), and
its update is multiplied by P. For m < n all of this is transposed (Zhao et al., ICML 2024, Algorithm 1, with the sides
of ``optax.contrib.galore``). P spans the r leading left singular vectors of G at the last refresh. optax
takes them from a full decomposition in float32. Here they come from a few products of G with r + oversample columns,
those of G^T P, which the step has anyway, and random ones; and they carry a certificate.

**When P is refreshed.** The angle phi between G and the matrices P X has cos^2 phi = ||P^T G||_F^2 / ||G||_F^2, the
captured share, which costs no product. The share of the gradient that P was made from is no reference for later ones: P
also fits the noise of that batch, so the share falls at the next batch even if the mean gradient stays. So the first
gradient after a refresh sets the reference, and P is refreshed when the share falls below a fraction of it. If P is
already useless for that first gradient, the share does not show it; so there is a largest number of steps as well.

**What a refresh keeps.** The inner optimizer's state stays as it is, as in optax. But the new P is the basis of its
span that is nearest to the old P (orthogonal Procrustes), where singular vectors change signs and order. So momentum
keeps its meaning as far as the spans agree, and a refresh that finds the same span changes nothing. Only the first P
consists of the singular vectors themselves.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.core import Tracer

from lawlib.compress.gradient_matrices import GradientMatrix, gradient_matrices
from lawlib.linalg.spectra import SVD, Products, block_krylov_svd
from lawlib.theory.equivariance import check_transform
from lawlib.types import Array, Bool, Float, Int, Matrix, Number, PRNGKey, PyTree, Scalar, matmul

__all__ = ["ProjectedState", "Projection", "low_rank_gradients"]

NO_WEIGHTS = (
    "The inner optimizer ran on projected gradients {} and without the weights. What needs the weights comes after the "
    "projection: optax.chain(low_rank_gradients(...), optax.add_decayed_weights(...), optax.scale(...))"
)


class Projection(NamedTuple):
    """The projector of one leaf, P (d, r) with d the longer side of its matrix, and what is known about it.

    ``bound`` bounds ||sin Theta||_F between P and the r leading singular vectors of the gradient at the last refresh
    (``linalg.spectra.Certified``; +inf before the first refresh), and ``certified`` says that it is within the
    tolerance. ``captured`` is the share ||P^T G||_F^2 / ||G||_F^2 of the last gradient, and ``reference`` that of the
    first gradient after the refresh, NaN until it has come. ``age`` counts the steps since the refresh.
    """

    basis: Float[Array, "d r"]
    bound: Scalar
    certified: Bool[Array, ""]
    captured: Scalar
    reference: Scalar
    age: Int[Array, ""]
    refreshes: Int[Array, ""]


class ProjectedState(NamedTuple):
    """The inner optimizer's state, what is known of each leaf's projector, and the number of steps.

    ``projections`` are in the order of ``jax.tree.leaves``, None for a leaf that is not projected:
    ``jax.tree.structure(params).unflatten(state.projections)`` has them at their places.
    """

    inner: PyTree
    projections: tuple[Projection | None, ...]
    steps: Int[Array, ""]


class _Plan(NamedTuple):
    """When a projector is refreshed, and the options of the search for a new one."""

    refresh_below: Number
    every: int | None
    search: dict[str, Any]


def low_rank_gradients(
    inner: optax.GradientTransformation,
    rank: int,
    *,
    key: PRNGKey,
    refresh_below: Number = 0.8,
    every: int | None = 200,
    scale: Number = 1.0,
    weight_dimension_numbers: PyTree | Callable[[PyTree], PyTree] = None,
    oversample: int = 10,
    tolerance: float | None = 0.1,
    max_passes: int = 4,
) -> optax.GradientTransformationExtraArgs:
    """GaLore: ``inner`` in the ``rank`` leading singular directions of each matrix's gradient, refreshed by an angle.

    The update of a matrix with gradient G (m, n), m >= n, is scale P inner(P^T G), transposed for m < n, with
    ||P^T G||_F^2 / ||G||_F^2 = cos^2 of the angle between G and the span of P. P is refreshed at the first step, when
    this share falls below ``refresh_below`` times its value one step after the last refresh, and ``every`` steps at the
    latest (None: by the angle only). ``refresh_below=0`` refreshes at optax's steps.

    Which leaves are matrices is said as in ``optax.contrib.galore``: those with two axes, or those that
    ``weight_dimension_numbers`` reads as matrices. All others reach ``inner`` whole, and so do matrices with
    min(m, n) <= rank, which optax projects on all directions of one gradient. ``oversample``, ``tolerance`` and
    ``max_passes`` are those of ``block_krylov_svd``. A projector that is not certified is used all the same; the
    state's ``projections`` say so for each leaf. P is kept in float32 at least, and float64 stays float64.

    After a gradient that is zero or not finite P stays; what ``inner`` does with such a gradient is its own affair
    (``optax.apply_if_finite``). ``inner`` gets no weights: chain weight decay after it. With gradient descent inside
    the step commutes with rotations where sigma_rank > sigma_{rank+1}, with Adam it does not (``theory.equivariance``).
    Under vmap every member searches for a new projector at every step.

    Raises:
        TypeError: ``inner`` is no optax transformation, ``key`` no key.
        ValueError: a number out of range; from init and update, leaves that cannot be projected, or none that can.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib, optax
        >>> galore = lawlib.compress.low_rank_gradients(optax.scale_by_adam(), 4, key=jax.random.key(0))
        >>> method = optax.chain(galore, optax.scale_by_learning_rate(1e-3))
        >>> weights = {"kernel": jnp.ones((30, 20)), "bias": jnp.ones(20)}
        >>> state = method.init(weights)
        >>> [moment.shape for moment in jax.tree.leaves(state[0].inner.mu)]
        [(20,), (4, 20)]
    """
    check_transform(inner)
    _check(rank, key, refresh_below, every, oversample, tolerance, max_passes)
    inner = optax.with_extra_args_support(inner)
    plan = _Plan(refresh_below, every, {"oversample": oversample, "tolerance": tolerance, "max_passes": max_passes})

    # The names of the arguments are optax's.
    def init(params: PyTree) -> PyTree:
        matrices = gradient_matrices(params, rank, weight_dimension_numbers)
        leaves, treedef = jax.tree.flatten(params)
        pairs = list(zip(leaves, matrices, strict=True))
        small = [W if M is None else jnp.zeros(M.projected_shape, W.dtype) for W, M in pairs]
        keys = [jax.random.fold_in(key, place) for place in range(len(pairs))]
        drawn = tuple(None if M is None else _drawn(k, M) for k, M in zip(keys, matrices, strict=True))
        return ProjectedState(inner.init(treedef.unflatten(small)), drawn, jnp.zeros((), jnp.int32))

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any) -> tuple[PyTree, PyTree]:
        del params
        matrices = gradient_matrices(updates, rank, weight_dimension_numbers)
        _check_state(state, matrices)
        leaves, treedef = jax.tree.flatten(updates)
        # The first keys were drawn from at init.
        now = jax.random.fold_in(jax.random.fold_in(key, len(leaves)), state.steps)
        small, projections = list(leaves), list(state.projections)
        for place, (G, M, last) in enumerate(zip(leaves, matrices, state.projections, strict=True)):
            if M is not None and last is not None:
                projections[place], R = _projected(plan, jax.random.fold_in(now, place), M.tall(G), last)
                small[place] = M.upright(R).astype(G.dtype)
        small, memory = _ran(inner, treedef.unflatten(small), state.inner, extra)
        found = zip(leaves, matrices, projections, treedef.flatten_up_to(small), strict=True)
        whole = [_expanded(scale, M, P.basis, U, G) if M and P else U for G, M, P, U in found]
        after = ProjectedState(memory, tuple(projections), state.steps + 1)
        return treedef.unflatten(whole), after

    return optax.GradientTransformationExtraArgs(init, update)


def _drawn(key: PRNGKey, matrix: GradientMatrix) -> Projection:
    """A random projector, with which the first search starts from random columns."""
    basis = jnp.linalg.qr(jax.random.normal(key, (max(matrix.shape), matrix.rank), matrix.dtype))[0]
    bound, unknown = (jnp.asarray(value, matrix.dtype) for value in (jnp.inf, jnp.nan))
    none = jnp.zeros((), jnp.int32)
    return Projection(basis, bound, jnp.asarray(False), unknown, unknown, none, none)


def _projected(plan: _Plan, key: PRNGKey, G: Matrix, last: Projection) -> tuple[Projection, Matrix]:
    """The projector to use for a gradient (d, n), d >= n, and P^T G."""
    largest = jnp.max(jnp.abs(G))
    unit = jnp.where(largest > 0, largest, 1)  # Squares of small numbers underflow.
    total = jnp.sum(jnp.square(G / unit))
    R = matmul(last.basis.T, G)
    captured = jnp.sum(jnp.square(R / unit)) / jnp.where(total > 0, total, 1)
    usable = jnp.isfinite(total) & (total > 0)
    first = usable & (last.refreshes > 0) & jnp.isnan(last.reference)
    reference = jnp.where(first, captured, last.reference)
    now = last._replace(captured=captured, reference=reference, age=last.age + 1)
    below = jnp.asarray(plan.refresh_below, G.dtype)
    due = (now.refreshes == 0) | (captured < below * reference)
    if plan.every is not None:
        due |= now.age >= plan.every
    return lax.cond(usable & due, lambda: _refreshed(plan, key, G, unit, total, R, now), lambda: (now, R))


def _refreshed(
    plan: _Plan, key: PRNGKey, G: Matrix, unit: Scalar, total: Scalar, R: Matrix, now: Projection
) -> tuple[Projection, Matrix]:
    """The projector on the leading singular vectors of G, and P^T G; as before if G has numbers too large or small."""
    d, n = G.shape
    products = Products(lambda V: matmul(G, V / unit), lambda U: matmul((U / unit).T, G).T, (d, n), G.dtype)
    r = len(R)
    # The search uses the right vectors only, and G^T P is half a step nearer to them than those of the last refresh.
    start = SVD(now.basis, jnp.zeros(r, G.dtype), R.T / unit)
    found = block_krylov_svd(key, products, r, start=start, **plan.search)
    left, values, right = found.svd
    turn = jnp.where(now.refreshes > 0, _nearest_rotation(matmul(left.T, now.basis)), jnp.eye(r, dtype=G.dtype))
    new = Projection(
        basis=matmul(left, turn),
        bound=found.bound,
        certified=found.certified,
        captured=jnp.sum(jnp.square(values)) / total,
        reference=jnp.full_like(total, jnp.nan),
        age=jnp.zeros_like(now.age),
        refreshes=now.refreshes + 1,
    )
    projected = matmul(turn.T, values[:, None] * right.T) * unit
    finite = jnp.isfinite(jnp.sum(new.basis) + jnp.sum(projected))
    return jax.tree.map(lambda after, before: jnp.where(finite, after, before), (new, projected), (now, R))


def _nearest_rotation(M: Matrix) -> Matrix:
    """The orthogonal factor of the polar decomposition: the rotation Q with the largest trace of Q^T M."""
    U, _, Vt = jnp.linalg.svd(M)
    return matmul(U, Vt)


def _expanded(scale: Number, matrix: GradientMatrix, P: Matrix, small: Array, like: Array) -> Array:
    """The update of the whole leaf."""
    return matrix.leaf(scale * matmul(P, matrix.upright(small).astype(P.dtype)), like)


def _ran(
    inner: optax.GradientTransformationExtraArgs, small: PyTree, memory: PyTree, extra: dict[str, Any]
) -> tuple[PyTree, PyTree]:
    try:
        # optax raises its rates to an integer power, a mixture of dtypes that strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(small, memory, None, **extra)
    except Exception as error:
        error.add_note(NO_WEIGHTS.format([jnp.shape(leaf) for leaf in jax.tree.leaves(small)]))
        raise


def _check_state(state: ProjectedState, matrices: list[GradientMatrix | None]) -> None:
    had = [None if P is None else P.basis.shape for P in state.projections]
    wanted = [None if M is None else (max(M.shape), M.rank) for M in matrices]
    if had != wanted:
        msg = (
            "the state is that of other gradients: its projectors, leaf by leaf, have the shapes "
            f"{had}, those of the gradients {wanted}; start with init(params)"
        )
        raise ValueError(msg)


def _check(
    rank: Any, key: Any, refresh_below: Any, every: Any, oversample: Any, tolerance: Any, max_passes: Any
) -> None:
    if not isinstance(key, jax.Array):
        msg = f"key must be a key, such as jax.random.key(0), got {key!r}"
        raise TypeError(msg)
    least = {"rank": (rank, 1), "oversample": (oversample, 1), "max_passes": (max_passes, 2)}
    if every is not None:
        least["every"] = (every, 1)
    problems = [
        f"{name} must be a whole number of at least {low}, got {given!r}"
        for name, (given, low) in least.items()
        if not (isinstance(given, (int, np.integer)) and given >= low)
    ]
    if not isinstance(refresh_below, Tracer) and not 0 <= refresh_below <= 1:
        problems.append(f"refresh_below must be in 0..1, a fraction of the captured share, got {refresh_below}")
    if tolerance is not None and not tolerance > 0:
        problems.append(f"tolerance must be positive, got {tolerance}")
    if problems:
        raise ValueError("; ".join(problems))
