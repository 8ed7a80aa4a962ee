"""How many directions of each layer move, for layers of any widths (Yaras et al. 2023, Assumption 1 relaxed).

Layers of widths d_0, ..., d_L start eps-semi-orthogonal: each is eps times an isometry (wider) or the transpose of one
(narrower). Phi = Y X^T has rank r, the inputs are whitened. Consider subspaces S_l of R^{d_l} that all W_l(0) and
W_l(0)^T map into each other and that contain the row space (S_0) and the column space (S_L) of Phi. Gradients are
polynomials in W_l, W_l^T and Phi, so the S_l and their complements evolve separately at every step, with weight decay
and momentum. The smallest S_l, of dimension k_l, are the active subspaces; layer l moves in min(k_{l-1}, k_l)
directions.

**Intervals.** A direction that is an input (a = 0), or that layer a adds by widening, is passed on without a change of
its length until layer b + 1 cuts it off, or to the outputs (b = L): an interval [a, b]. Where Phi is 0,

- directions of [0, L] keep one singular value rho in all layers, which follows eq. (6);
- any other interval has W_{L:1} = 0 and hence no gradient: rho follows eq. (7).

**Mixing.** Intervals end where a layer narrows from d to d - c. Its kernel K, of dimension c, is in general position to
the m_a directions M_a that started at a. Of these, max(0, m_a - c) are orthogonal to K and passed on, and
max(0, c - (d - m_a)) are in K and cut off. The rest of R^d is mixed: there K has angles other than 0 and pi/2 to the
M_a, W_{L:1} has other singular values than eps^L, and all directions move, whatever the rank. Without a peak (a width
larger than one before it and one after it) there is one M_a, and nothing is mixed.

**The law.** Phi is in general position too. It adds min(2r, m) directions to [0, L], which it meets at both ends,
min(r, m) to the other [0, b] and [a, L], and none to the rest. With probability one

    k_l = mixed_l + min(2r, m_{0,L}) + sum_{b >= l} min(r, m_{0,b}) + sum_{a <= l} min(r, m_{a,L}).

Square layers give Case 1, k_l = 2r. With r outputs, k_l = 2r where the widths before them are equal (Case 2), and each
widening by c adds min(r, c): 6, 9 and 12 directions for the widths 30, 36, 40, 3.
"""

import itertools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from lawlib.linalg.subspaces import complement, orthonormal_sum
from lawlib.types import Array, Float, Matrix, Scalar, Weights, matmul

__all__ = [
    "ActiveDimensions",
    "active_dimensions",
    "bases_of_any_widths",
    "falls_then_rises",
    "layer_scale",
    "passed_products",
]


class ActiveDimensions(NamedTuple):
    """``active``: k_0, ..., k_L; ``passed``: the number of idle directions that all layers pass on, with eq. (6)."""

    active: tuple[int, ...]
    passed: int


def active_dimensions(widths: Sequence[int], rank: int) -> ActiveDimensions:
    """The dimensions k_0, ..., k_L of the active subspaces for widths d_0, ..., d_L and a target of rank r.

    They hold with probability one for independent Haar layers, and are the largest possible otherwise. Case 2 of
    Theorem 1 is d_L = r.

    Raises:
        TypeError: a width or the rank is not a whole number.
        ValueError: widths are not two or more positive sizes, or the rank is not in 1..min(d_0, d_L).

    Example:
        >>> from lawlib.theory.parsimony_widths import active_dimensions
        >>> active_dimensions((30, 30, 30, 30), rank=3)
        ActiveDimensions(active=(6, 6, 6, 6), passed=24)
        >>> active_dimensions((30, 36, 40, 3), rank=3)
        ActiveDimensions(active=(6, 9, 12, 3), passed=0)
    """
    widths, rank = [operator.index(width) for width in widths], operator.index(rank)
    if len(widths) < 2 or min(widths) < 1 or not 1 <= rank <= min(widths[0], widths[-1]):
        msg = (
            "active directions need two or more positive widths (d_0, ..., d_L) and a rank in 1..min(d_0, d_L), "
            f"got widths {tuple(widths)} and rank={rank}"
        )
        raise ValueError(msg)
    sizes, mixed, last = {}, [0] * len(widths), len(widths) - 1
    live = {0: widths[0]}
    for layer, (d, out) in enumerate(itertools.pairwise(widths), start=1):
        if out < d:
            for start, size in live.items():
                passed, cut = _fate(size, narrowed=d - out, width=d)
                for place in range(start, layer):
                    mixed[place] += size - passed - cut
                live[start], sizes[start, layer - 1] = passed, cut
        elif out > d:
            live[layer] = out - d
        mixed[layer] = out - sum(live.values())
    sizes |= {(start, last): size for start, size in live.items()}
    moved = {(a, b): min(size, rank * ((a == 0) + (b == last))) for (a, b), size in sizes.items()}
    active = [sum(k for (a, b), k in moved.items() if a <= place <= b) for place in range(len(widths))]
    passed = sizes[0, last] - moved[0, last]
    return ActiveDimensions(tuple(k + extra for k, extra in zip(active, mixed, strict=True)), passed)


def falls_then_rises(widths: Sequence[int]) -> bool:
    """Whether no width is larger than one before it and one after it, so that no direction is mixed."""
    narrowest = widths.index(min(widths))
    return list(widths) == sorted(widths[:narrowest], reverse=True) + sorted(widths[narrowest:])


def bases_of_any_widths(
    weights: Weights, left: Float[Array, "d_y r"], right: Float[Array, "d r"]
) -> tuple[Float[Array, "_ _"], ...]:
    """Orthonormal bases (d_l, k_l), l = 0, ..., L, of the active subspaces, at a cost of O(L d^3).

    ``left`` and ``right`` are orthonormal bases of the column and row space of Phi. The columns are those of [0, L],
    of the other intervals, and the mixed ones, which complete the intervals to R^{d_l}.
    """
    last, chains = len(weights), _intervals(weights)
    blocks: list[list[Array]] = [[] for _ in range(last + 1)]
    for (a, b), chain in chains.items():
        ends = ((a == 0, chain[0], right), (b == last, chain[-1], left))
        met = [matmul(basis.T, space) for meets, basis, space in ends if meets]
        if not met:
            continue
        size = min(chain[0].shape[1], sum(block.shape[1] for block in met))
        coordinates = orthonormal_sum(*met, dimension=size).basis
        for place in range(a, b + 1):
            blocks[place].append(matmul(chain[place - a], coordinates))
    for place, found in enumerate(blocks):
        width = len(left) if place == last else weights[place].shape[1]
        ordered = [chain[place - a] for (a, b), chain in chains.items() if a <= place <= b]
        whole = jnp.concatenate([jnp.zeros((width, 0), left.dtype), *ordered], axis=1)
        if whole.shape[1] < width:
            found.append(complement(whole))
    return tuple(jnp.concatenate(found, axis=1) for found in blocks)


def passed_products(weights: Weights, bases: tuple[Float[Array, "_ _"], ...]) -> tuple[Float[Array, "_ _"], ...]:
    """W_l(0) / eps on the idle directions that all layers pass on, 0 on the others, for bases of the active ones."""
    passed = _intervals(weights).get((0, len(weights)))
    if passed is None:
        return tuple(jnp.zeros_like(W) for W in weights)
    idle = [F - matmul(B, matmul(B.T, F)) for F, B in zip(passed, bases, strict=True)]
    return tuple(matmul(after, before.T) for before, after in itertools.pairwise(idle))


def layer_scale(W: Matrix) -> Scalar:
    """The eps of an eps-orthogonal layer: ||W||_F divided by the square root of its smaller side."""
    return jnp.linalg.norm(W) / jnp.sqrt(jnp.asarray(min(W.shape), W.dtype))


def _fate(size: int, *, narrowed: int, width: int) -> tuple[int, int]:
    """How many of ``size`` directions a layer that narrows R^width by ``narrowed`` passes on, and how many it cuts."""
    return max(0, size - narrowed), max(0, narrowed - (width - size))


def _intervals(weights: Weights) -> dict[tuple[int, int], tuple[Array, ...]]:
    """For each interval [a, b] of directions, the one from 0 to L first, their bases in R^{d_a}, ..., R^{d_b}."""
    live: dict[int, tuple[Array, ...]] = {0: (jnp.eye(weights[0].shape[1], dtype=weights[0].dtype),)}
    ended: dict[tuple[int, int], tuple[Array, ...]] = {}
    for layer, W in enumerate(weights, start=1):
        out, d = W.shape
        if out < d:
            for start, chain in live.items():
                passed, cut = _fate(chain[-1].shape[1], narrowed=d - out, width=d)
                # The singular values of W / eps on M_a are cosines: 1 first, and 0 last.
                turned = jnp.linalg.svd(matmul(W, chain[-1]))[2].T
                ended[start, layer - 1] = _columns(chain, turned[:, turned.shape[1] - cut :])
                live[start] = _columns(chain, turned[:, :passed])
        live = {start: (*chain, matmul(W, chain[-1]) / layer_scale(W)) for start, chain in live.items()}
        if out > d:
            live[layer] = (complement(W),)
        live = {start: chain for start, chain in live.items() if chain[0].shape[1] > 0}
    found = {(start, len(weights)): chain for start, chain in live.items()} | ended
    return {interval: chain for interval, chain in found.items() if chain[0].shape[1] > 0}


def _columns(chain: tuple[Array, ...], coordinates: Array) -> tuple[Array, ...]:
    return tuple(matmul(basis, coordinates) for basis in chain)
