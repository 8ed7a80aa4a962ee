"""The small equivalent of a deep linear network, and the way back (Yaras et al. 2023, Section 4.1).

By Theorem 1 gradient descent from an eps-orthogonal start moves every layer inside 2r directions known at
initialization. There the layers are 2r x 2r matrices W~_l, which follow their own gradient descent from eps I towards
Phi~ = U_{L,1}^T Phi V_{1,1}; on the complement every singular value equals one scalar rho. The two determine the full
network up to floating-point error, with weight decay and momentum included:

    W_{L:1} = U_{L,1} W~_{L:1} V_{1,1}^T + rho^L (Q - U_{L,1} V_{1,1}^T),   Q = W_{L:1}(0) / eps^L    (Case 1),
    W_{L:1} = W~_{L:1} V_{1,1}^T, with W~_L of shape r x 2r                                           (Case 2).

Layers of other widths have such an equivalent too, with k_l directions of layer l as in ``theory.parsimony_widths``.
The paper calls this "almost equivalent", since it omits the term of rho. A step costs O(L r^3), independently of the
width d, and the bases of Case 1 can be drawn without any d x d matrix.
"""

import functools as ft
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lawlib.descent.steps import Iterate, heavy_ball
from lawlib.networks.initializers import orthogonal
from lawlib.theory.parsimony import bases_through, check_idle, invariant_bases, rho_square, rho_wide, start_cores
from lawlib.theory.parsimony_defects import (
    allowed_defect,
    basis_parts,
    check_bases,
    check_start,
    checked_defect,
    layer_parts,
    probe,
    scale_parts,
    target_parts,
)
from lawlib.theory.parsimony_widths import layer_scale, passed_products
from lawlib.types import Array, Float, PRNGKey, Rate, Scalar, Weights, matmul

__all__ = [
    "Bases",
    "LowRank",
    "Reduced",
    "Reduction",
    "bases_of",
    "draw_bases",
    "draw_reduction",
    "expand",
    "factors",
    "init",
    "reduce",
    "reduced_loss",
    "step",
]

# Up to this size a product written as broadcast, multiply and sum is fused into the step. On a CPU a step of three
# layers with k = 10 takes 2.4 us, compared with 9.6 us for calls of dot; beyond 12 the fused product is much slower.
FUSED_SIZE = 12


class Bases(NamedTuple):
    """Bases of the active subspaces of the end-to-end matrix: ``left`` is U_{L,1}, ``right`` V_{1,1}.

    Both are orthonormal for a square matrix; for a rectangular one, only that of the longer side.
    """

    left: Float[Array, "m k"]
    right: Float[Array, "n k"]


class LowRank(NamedTuple):
    """A target Phi = left diag(values) right^T, never formed: orthonormal left and right (d, r), singular values."""

    left: Float[Array, "d r"]
    values: Float[Array, " r"]
    right: Float[Array, "d r"]


class Reduced(NamedTuple):
    """The small network: ``weights`` (W~_1, ..., W~_L) and rho.

    Each weight is 2r x 2r; in Case 2 the last is r x 2r, and layers that change the width are k_l x k_{l-1}. ``rho`` is
    the idle value of directions that all layers pass on (Case 1), or, if there are none, of all (Case 2). ``rho_cut``
    is that of directions that a narrower layer cuts off or a wider one adds: it follows eq. (7) in both cases.
    Under ``compress.transformed`` each layer has an idle value of its own (in Case 2 all but the last).
    """

    weights: Weights
    rho: Scalar | Float[Array, " L"]
    rho_cut: Scalar


class Reduction(NamedTuple):
    """What the target and W(0) determine: the bases, the target of the small network, and its start.

    ``bases`` are V_{1,1}, U_{1,1}, ..., U_{L,1} (Case 2: without the last, which is I); a reduction drawn without
    matrices has only the first and the last. ``target`` is Phi~, 2r x 2r or r x k_0 (Case 2). ``floor`` is the minimum
    of the loss over all matrices: 1/2 (||Y||^2 - ||Phi||^2) with whitened data, otherwise 0. ``probes`` are W_l(0) z_l
    for fixed vectors z_l, by which ``expand`` recognizes W(0).

    ``defect`` is 0 up to rounding if the small network equals the full one at every step, for any rates, and NaN if a
    value is not finite. It is the largest of

    - ||Phi - B_L B_L^T Phi B_0 B_0^T||_F / ||Phi||_F, the part of the target outside the bases B_l (Case 2: B_L = I);
    - ||B_l^T B_l - I||_F of each basis;
    - Case 1: ||W_l(0)^T W_l(0) / eps^2 - I||_F of each layer (W_l W_l^T if it narrows), with the first layer's eps;
    - unless all layers are square: ||W_l(0) B_{l-1} / eps - B_l C_l||_F and ||W_l(0)^T B_l / eps - B_{l-1} C_l^T||_F of
      all layers (Case 2: all but the last), with C_l = W~_l(0) / eps, which is I, padded or cut, unless directions mix;
    - Case 2: ||W_L(0) (I - B_{L-1} B_{L-1}^T)||_F / ||W_L(0)||_F.
    """

    bases: tuple[Float[Array, "_ _"], ...]
    target: Float[Array, "k_y k"]
    start: Reduced
    floor: Scalar
    defect: Scalar
    probes: tuple[Float[Array, " _"], ...]


def reduce(
    weights: Weights,
    target: Float[Array, "d_y d"],
    rank: int,
    *,
    floor: Rate = 0.0,
    tolerance: float | None = None,
) -> Reduction:
    """The small equivalent of a network with the eps-orthogonal weights W(0) that is trained on ``target``.

    For whitened X, 1/2 ||W_{L:1} X - Y||_F^2 (a sum over entries) equals 1/2 ||W_{L:1} - Phi||_F^2 + ``floor`` with
    Phi = Y X^T (``problems.synthetic.regression`` gives both). The target is (d_y, d), of rank at most ``rank``: Case 1
    if ``rank`` < d_y, Case 2 if ``rank`` = d_y. All layers have one eps (Case 2: the last layer may have any values).
    The small network has 2 rank directions in each layer if all have one width, otherwise those of
    ``theory.parsimony_widths.active_dimensions``. A rank above the target's makes it larger and no less exact.

    The small network equals the full one only if ``defect`` is at the level of rounding. A defect above ``tolerance``
    is an error; the default is 100 eps(dtype) sqrt(d), d the largest width, and math.inf accepts any defect. Traced
    values (under jit or vmap) are not checked: read ``defect`` of the result.

    Raises:
        ValueError: ``rank`` is not between 1 and min(d_y, d), no direction idles (with one width d: 2 rank is not below
            d), or the defect is above the tolerance.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> draw = jax.nn.initializers.orthogonal(0.5)
        >>> weights = tuple(draw(key, (20, 20)) for key in jax.random.split(jax.random.key(0), 3))
        >>> target = jnp.diag(jnp.zeros(20).at[:2].set(1.0))  # of rank 2
        >>> reduction = lawlib.reduce(weights, target, rank=2)
        >>> [W.shape for W in lawlib.compress.init(reduction).weights.weights]
        [(4, 4), (4, 4), (4, 4)]
    """
    if not weights:
        msg = "reduce needs the weights of one layer or more, got none"
        raise ValueError(msg)
    bases = invariant_bases(weights, target, operator.index(rank))
    has_left, scale = len(bases) > len(weights), layer_scale(weights[0])
    cores = start_cores(weights, bases)
    core = matmul(target, bases[0])
    readout = () if has_left else (matmul(weights[-1], bases[-1]),)
    core = matmul(bases[-1].T, core) if has_left else core
    captured = matmul(matmul(bases[-1], core) if has_left else core, bases[0].T)
    parts = target_parts(target - captured, target, rank) | basis_parts(bases)
    parts |= layer_parts(weights, bases, cores, scale)
    defect = checked_defect(parts, allowed_defect(tolerance, bases))
    start = (*(scale * C for C in cores), *readout)
    floor, probes = jnp.asarray(floor, target.dtype), tuple(map(probe, weights))
    return Reduction(bases, core, Reduced(start, scale, scale), floor, defect, probes)


def draw_bases(key: PRNGKey, left: Float[Array, "m q"], right: Float[Array, "n p"]) -> Bases:
    """Draw U_{L,1} and V_{1,1} with the distribution for a Haar orthogonal Q = W_{L:1}(0)/eps^L, without Q.

    They depend on Q only through P = Q^T U_Phi, a Haar frame, and Q V_Phi. With V_Phi = P C_0 + F_0 C, F_0 orthonormal
    and orthogonal to P, orthogonality of Q fixes Q P = U_Phi and leaves Q F_0 = F free: a Haar frame orthogonal to
    U_Phi. So V_{1,1} = [P, F_0] and U_{L,1} = [U_Phi, F], orthonormal up to rounding, at a cost of O(d k^2), k = q + p.
    ``left`` and ``right`` are orthonormal bases U_Phi, V_Phi, of q = p = r columns for a target of rank r. An m x n
    matrix is part of a square network of width d = max(m, n): its bases are the first m and n rows of those of the
    square network.

    Raises:
        ValueError: q or p is 0, or k exceeds max(m, n); left or right, unless traced, is not orthonormal.
    """
    drawn = _drawn(key, left, right)
    check_bases(left, right)
    return drawn


def _drawn(key: PRNGKey, left: Array, right: Array) -> Bases:
    (m, q), (n, p) = left.shape, right.shape
    width = max(m, n)
    if not 0 < min(q, p) < q + p <= width:
        rank = f"a rank r with 0 < 2 r <= {width}, got {q}"
        unequal = f"column and row spaces of at least 1 and together at most {width} dimensions, got {q} and {p}"
        msg = f"the active bases of a {m} x {n} matrix need {rank if q == p else unequal}"
        raise ValueError(msg)
    left, right = (jnp.pad(block, ((0, width - len(block)), (0, 0))) for block in (left, right))
    key_pulled, key_free = jax.random.split(key)
    pulled_back = orthogonal(1.0)(key_pulled, (width, q), left.dtype)
    completed = jnp.linalg.qr(_outside(pulled_back, right))[0]
    # Projected Gaussian columns are isotropic in the complement, and so is the Q of their QR up to the signs of R.
    Q, R = jnp.linalg.qr(_outside(left, jax.random.normal(key_free, (width, p), left.dtype)))
    free = Q * jnp.sign(jnp.diagonal(R))[None]
    return Bases(
        left=jnp.concatenate([left, free], axis=1)[:m],
        right=jnp.concatenate([pulled_back, completed], axis=1)[:n],
    )


def bases_of(weights: Weights, left: Float[Array, "d r"], right: Float[Array, "d r"]) -> Bases:
    """The same bases from given weights W(0).

    With square ones they are V_{1,1} = orth[V_Phi, W_{L:1}(0)^T U_Phi] and U_{L,1} = Q V_{1,1}.
    ``left`` and ``right`` are orthonormal bases of the target's singular subspaces, or estimates of them
    (Yaras et al. 2023, eqs. 9 to 11).

    Raises:
        ValueError: no direction idles (with square weights: 2 r is not between 0 and d); unless traced, left or right
            is not orthonormal, or the layers not orthogonal times one eps, beyond rounding.
    """
    check_idle((len(right), *(W.shape[0] for W in weights)), left.shape[1])
    # Where left spans all outputs, the last layer may have any values (Case 2).
    layers = weights if left.shape[0] > left.shape[1] else weights[:-1]
    check_bases(left, right, layers, layer_scale(weights[0]))
    bases = bases_through(weights, left, right)
    # With r outputs, left spans all of them.
    return Bases(bases[-1] if len(bases) > len(weights) else left, bases[0])


def draw_reduction(
    key: PRNGKey, target: LowRank, *, depth: int, scale: Rate, tolerance: float | None = None
) -> Reduction:
    """The reduction of a square network of this depth and scale eps whose W(0) is drawn but never formed (Case 1).

    It has exactly the distribution of ``reduce`` with independent Haar layers, at a cost of O(d r^2). Its ``bases`` are
    the first and the last only: it has products on the active subspace (``factors``), but cannot be expanded to d x d
    weights. ``defect``, of the bases and the target, and ``tolerance`` are as in ``reduce``.

    Raises:
        ValueError: 2 r is not in 2..d, depth is below 2, or the defect is above the tolerance: the target's left
            factor is not orthonormal, or a value not finite.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> from lawlib.compress import LowRank
        >>> left, right = jnp.eye(10_000, 2), jnp.eye(10_000, 2)  # width 10,000: no array of that size squared
        >>> target = LowRank(left, jnp.array([2.0, 1.0]), right)
        >>> reduction = lawlib.draw_reduction(jax.random.key(0), target, depth=3, scale=1e-3)
        >>> reduction.target.shape
        (4, 4)
    """
    if depth < 2:
        msg = f"depth must be at least 2 for a deep network, got depth={depth}"
        raise ValueError(msg)
    left, right = _drawn(key, target.left, target.right)
    core = matmul(left.T, target.left) * target.values[None]
    outside = target.left * target.values[None] - matmul(left, core)
    core, scale = matmul(core, matmul(target.right.T, right)), jnp.asarray(scale, left.dtype)
    parts = target_parts(outside, target.values, len(target.values)) | basis_parts((right, left))
    defect = checked_defect(parts | scale_parts(scale), allowed_defect(tolerance, (left, right)))
    start = Reduced((scale * jnp.eye(len(core), dtype=core.dtype),) * depth, scale, scale)
    return Reduction((right, left), core, start, jnp.zeros((), core.dtype), defect, ())


def init(reduction: Reduction) -> Iterate:
    """The small network at the start, with W(-1) = W(0) for the momentum; the first argument of ``step``."""
    return Iterate(reduction.start, reduction.start)


def step(iterate: Iterate, reduction: Reduction, *, step_size: Rate, weight_decay: Rate, momentum: Rate) -> Iterate:
    """One step of gradient descent with weight decay and momentum of the full network, in its small equivalent.

    W~_l follow eqs. (4) and (16) of Yaras et al. 2023 on 1/2 ||W~_{L:1} - Phi~||_F^2, a sum over entries; rho follows
    its recursion (``rho_square`` in Case 1, ``rho_wide`` in Case 2), and so does ``rho_cut`` (``rho_wide``).
    ``iterate`` holds the network now and one step before.
    """
    now, before = iterate
    rates = {"step_size": step_size, "weight_decay": weight_decay, "momentum": momentum}
    moved = _descent.step(Iterate(now.weights, before.weights), reduction.target, **rates)
    if _num_passed(reduction):
        rho = rho_square(now.rho, before=before.rho, depth=len(now.weights), **rates)
    else:
        rho = rho_wide(now.rho, before=before.rho, **rates)
    rho_cut = rho_wide(now.rho_cut, before=before.rho_cut, **rates)
    return Iterate(Reduced(moved.weights, jnp.asarray(rho), jnp.asarray(rho_cut)), now)


def reduced_loss(reduction: Reduction, reduced: Reduced) -> Scalar:
    """The loss of the full network, half a sum of squares: 1/2 ||W~_{L:1} - Phi~||_F^2 + 1/2 m rho^{2L} + floor.

    m is the number of idle directions that all layers pass on: d - 2r with square layers, 0 in Case 2. The penalty of
    weight decay is not included.
    """
    passed = _num_passed(reduction)
    power = reduced.rho ** (2 * len(reduced.weights)) if reduced.rho.ndim == 0 else jnp.prod(reduced.rho) ** 2
    idle = passed * power / 2 if passed else 0.0
    return _loss(reduced.weights, reduction.target) + idle + reduction.floor


def factors(reduction: Reduction, reduced: Reduced) -> Bases:
    """The end-to-end matrix on the active subspace as left right^T: left = U_{L,1} W~_{L:1} (d_y, 2r), right = V_{1,1}.

    This is W_{L:1} without its idle part rho^L (Q - U_{L,1} V_{1,1}^T), of norm rho^L sqrt(d - 2r); in Case 2 it is
    W_{L:1} itself. Products with vectors cost O(d r); no d x d array is formed.
    """
    core = _product(reduced.weights)
    left = matmul(reduction.bases[-1], core) if _has_left(reduction) else core
    return Bases(left, reduction.bases[0])


def expand(reduction: Reduction, reduced: Reduced, weights: Weights, *, tolerance: float | None = None) -> Weights:
    """The d x d weights that the small network represents, exact up to rounding; ``weights`` are W(0).

    W_l = (rho/eps) W_l(0) + U_{l,1} (W~_l - rho I) V_{l,1}^T; in Case 2 W_L = W~_L U_{L-1,1}^T. Where widths differ,
    rho I is (rho/eps) W~_l(0), and directions that a layer cuts off have rho_cut for rho. One product with each layer
    checks, unless it is traced, that the weights are those of the reduction; ``tolerance`` is the
    allowed relative difference, by default as in ``reduce``.

    Raises:
        TypeError: ``reduced`` is not the small network's weights, such as ``iterate.weights``.
        ValueError: the reduction was drawn without matrices and has no bases of the hidden layers, or W(0) is not
            the start that was reduced.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> draw = jax.nn.initializers.orthogonal(0.5)
        >>> weights = tuple(draw(key, (20, 20)) for key in jax.random.split(jax.random.key(0), 3))
        >>> reduction = lawlib.reduce(weights, jnp.diag(jnp.zeros(20).at[:2].set(1.0)), rank=2)
        >>> small = lawlib.compress.init(reduction)
        >>> small = lawlib.compress.step(small, reduction, step_size=0.01, weight_decay=0.0, momentum=0.0)
        >>> lawlib.expand(reduction, small.weights, weights)[0].shape
        (20, 20)
    """
    if not isinstance(reduced, Reduced):
        msg = f"expand needs the small network's weights and rho, iterate.weights, got {type(reduced).__name__}"
        raise TypeError(msg)
    depth, has_left = len(reduced.weights), _has_left(reduction)
    if len(weights) != depth:
        msg = f"W(0) must have the small network's {depth} layers, got {len(weights)}"
        raise ValueError(msg)
    if len(reduction.bases) != depth + has_left:
        msg = "a reduction drawn without matrices gives products on the active subspace (factors), not d x d weights"
        raise ValueError(msg)
    check_start(weights, reduction.probes, allowed_defect(tolerance, weights))
    bases, readout = reduction.bases, () if has_left else (matmul(reduced.weights[-1], reduction.bases[-1].T),)
    layers = weights if has_left else weights[:-1]
    if has_left and any(W.shape[0] != W.shape[1] for W in weights):
        expanded, others = _expanded(layers, reduction, reduced, reduced.rho_cut), passed_products(weights, bases)
        return tuple(W + (reduced.rho - reduced.rho_cut) * P for W, P in zip(expanded, others, strict=True))
    return (*_expanded(layers, reduction, reduced, reduced.rho), *readout)


def _expanded(layers: Weights, reduction: Reduction, reduced: Reduced, rho: Array) -> Weights:
    """The layers with one idle value rho, or one each."""
    eps, bases = reduction.start.rho, reduction.bases
    rhos = jnp.broadcast_to(rho, len(layers))
    cores = zip(rhos, layers, reduced.weights, reduction.start.weights, bases[1:], bases, strict=False)
    return tuple(c / eps * W + matmul(U, matmul(core - c * (C / eps), V.T)) for c, W, core, C, U, V in cores)


def _outside(basis: Array, block: Array) -> Array:
    """The part of a block outside the span of a basis, projected twice to be orthogonal up to rounding."""
    for _ in range(2):
        block = block - matmul(basis, matmul(basis.T, block))
    return block


def _has_left(reduction: Reduction) -> bool:
    """Whether the outputs have a basis (Case 1): a reduction drawn without matrices has no probes, but both bases."""
    return not reduction.probes or len(reduction.bases) > len(reduction.start.weights)


def _num_passed(reduction: Reduction) -> int:
    """The number of idle directions that all layers pass on: in some layer there are no others."""
    return min(basis.shape[0] - basis.shape[1] for basis in reduction.bases) if _has_left(reduction) else 0


def _product(weights: Weights) -> Array:
    return ft.reduce(lambda product, W: _fused_product(W, product), weights)


def _fused_product(A: Array, B: Array) -> Array:
    if max(*A.shape, *B.shape) <= FUSED_SIZE:
        return jnp.sum(A[:, :, None] * B[None], axis=1)
    return matmul(A, B)


def _loss(weights: Weights, target: Array) -> Scalar:
    return jnp.sum(jnp.square(_product(weights) - target)) / 2


_descent = heavy_ball(_loss)
