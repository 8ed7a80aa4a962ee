"""The law of parsimony for deep linear networks (Yaras et al. 2023, Theorem 1).

Gradient descent from an eps-orthogonal start moves each weight matrix only inside a subspace of 2r dimensions that is
known at initialization. On its complement every singular value equals a scalar rho(t) with its own recursion:

    W_l(t) = U_l [[W~_l(t), 0], [0, rho(t) I_m]] V_l^T,   V_{l+1} = U_l,   m = d - 2r,   W~_l(0) = eps I.

Case 1: square layers, Phi = Y X^T of rank r. Case 2: d_y = r outputs; the last layer, r x d, is not decomposed.
Throughout the inputs are whitened (X X^T = I) and the loss is 1/2 ||W_{L:1} X - Y||_F^2, a sum over entries, with
weight decay lambda/2 sum_l ||W_l||_F^2.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp

from lawlib.linalg.subspaces import complement, orthonormal_sum
from lawlib.theory.parsimony_widths import active_dimensions, bases_of_any_widths, falls_then_rises, layer_scale
from lawlib.types import Array, Float, Int, Matrix, Rate, Scalar, Weights, matmul

__all__ = [
    "Blocks",
    "Frame",
    "Split",
    "angle_to_idle",
    "bases_through",
    "block_decomposition",
    "block_deviation",
    "check_idle",
    "excess_value",
    "invariant_bases",
    "invariant_frames",
    "predicted_spectrum",
    "rho_square",
    "rho_wide",
    "split_spectrum",
    "start_cores",
]


class Frame(NamedTuple):
    """An orthogonal matrix in two blocks: the directions in which a layer learns, and the idle directions."""

    active: Float[Array, "d k"]
    idle: Float[Array, "d m"]


class Blocks(NamedTuple):
    """U^T W V in blocks: by the law, ``upper`` and ``lower`` vanish and ``idle`` is rho I."""

    active: Float[Array, "k k"]
    upper: Float[Array, "k m"]
    lower: Float[Array, "m k"]
    idle: Float[Array, "m m"]


class Split(NamedTuple):
    """Indices of the singular values that have moved, and of the idle ones.

    The two subspaces are complements of each other, so their angles to the frame's blocks agree: two idle subspaces of
    dimension m = d - 2r always share m - 2r directions, and the other angles are those between the active subspaces.
    """

    moved: Int[Array, " k"]
    idle: Int[Array, " m"]


def rho_square(rho: Rate, *, before: Rate, depth: int, step_size: Rate, weight_decay: Rate, momentum: Rate) -> Rate:
    """The idle singular value after one step, Case 1; ``before`` is rho-, its value one step earlier.

    rho+ = (1 - eta lambda) rho - eta rho^{2L-1} + mu (rho - rho-), rho(0) = rho(-1) = eps
    (Yaras et al. 2023, eq. 6; the momentum term follows from eq. 16). It tends to 0 even without weight decay, like
    (2(L-1) eta t)^{-1/(2(L-1))}.
    """
    return rho_wide(rho, before=before, step_size=step_size, weight_decay=weight_decay, momentum=momentum) - (
        step_size * rho ** (2 * depth - 1)
    )


def rho_wide(rho: Rate, *, before: Rate, step_size: Rate, weight_decay: Rate, momentum: Rate) -> Rate:
    """The idle singular value after one step, Case 2, where only weight decay changes it; ``before`` is rho-.

    rho+ = (1 - eta lambda) rho + mu (rho - rho-), rho(0) = rho(-1) = eps; without momentum
    rho(t) = eps (1 - eta lambda)^t (Yaras et al. 2023, eq. 7).
    """
    return (1 - step_size * weight_decay) * rho + momentum * (rho - before)


def invariant_bases(weights: Weights, target: Float[Array, "d_y d"], rank: int) -> tuple[Float[Array, "_ _"], ...]:
    """The active bases [V_{1,1}, U_{1,1} = V_{2,1}, ...] of Theorem 1 from W(0) and Phi = Y X^T.

    V_{1,1} = orth[row space of Phi, W_{L:1}(0)^T (column space of Phi)], U_{l,1} = W_l(0) V_{l,1} / eps; no
    intersection of null spaces is computed. Layer l maps basis l-1 to basis l. There are L+1 of them in Case 1 and L
    in Case 2, whose last layer has no left basis. ``rank`` is that of the target, or an upper bound; as many outputs
    as ``rank`` are Case 2, in which the last layer may have any values.

    With square layers each basis is (d, 2r). Beyond the theorem, layers may have any widths: the bases are then
    (d_l, k_l) with k_l from ``active_dimensions``.

    Raises:
        ValueError: ``rank`` is not between 1 and the numbers of inputs and outputs, no direction idles (with square
            layers: 2 rank is not below the width), or the shapes do not form a network.
    """
    _check_chain(weights, target.shape)
    check_idle((target.shape[1], *(W.shape[0] for W in weights)), rank)
    left, _, right = jnp.linalg.svd(target, full_matrices=False)
    return bases_through(weights, left[:, :rank], right[:rank].T)


def bases_through(
    weights: Weights, left: Float[Array, "d_y q"], right: Float[Array, "d p"]
) -> tuple[Float[Array, "_ _"], ...]:
    """The same bases from orthonormal bases of the column space (left) and row space (right) of Phi, q = p = r.

    Square layers allow q and p to differ: a basis then has q + p columns.

    Layers are divided by their scale as they are applied, so that eps^L does not underflow. Unless a width is larger
    than one before it and one after it, the sum of the two spaces is taken at the narrowest layer, and each widening
    away from it adds the part of them that the layer maps to 0.
    """
    has_left = left.shape[0] > left.shape[1]
    layers = weights if has_left else weights[:-1]
    widths = (weights[0].shape[1], *(W.shape[0] for W in layers))
    if not falls_then_rises(widths):
        # In Case 2 all outputs are active, and of the last layer only the row space matters.
        outer = () if has_left else (_polar(weights[-1]),)
        return bases_of_any_widths((*layers, *outer), left, right)[: len(widths)]
    backward = [left] if has_left else [_pulled(weights[-1], left)]
    for W in reversed(layers):
        backward.insert(0, _pulled(W, backward[0]))
    forward = [right]
    for W in layers:
        forward.append(_pushed(W, forward[-1]))
    narrowest, dimension = widths.index(min(widths)), min(left.shape[1] + right.shape[1], *widths)
    bases = [orthonormal_sum(forward[narrowest], backward[narrowest], dimension=dimension).basis]
    for W, wanted in zip(layers[narrowest:], backward[narrowest + 1 :], strict=True):
        bases.append(_completed(_pushed(W, bases[-1]), W, wanted))
    for W, wanted in zip(reversed(layers[:narrowest]), reversed(forward[:narrowest]), strict=True):
        bases.insert(0, _completed(_pulled(W, bases[0]), W.T, wanted))
    return tuple(bases)


def check_idle(widths: tuple[int, ...], rank: int) -> None:
    """Check that some direction of a network of these widths (d_0, ..., d_L) idles for targets of this rank.

    Raises:
        ValueError: none does, or a target of this shape cannot have this rank.
    """
    width, outputs = widths[0], widths[-1]
    if rank < 1 or (set(widths[:-1]) == {width} and outputs in (width, rank) and 2 * rank >= width):
        msg = f"the invariant subspace needs 0 < 2 rank < width, got rank={rank} and width={width}"
        raise ValueError(msg)
    if rank > min(width, outputs):
        msg = (
            f"a target for {width} inputs and {outputs} outputs has at most rank {min(width, outputs)}, got rank={rank}"
        )
        raise ValueError(msg)
    if active_dimensions(widths, rank).active == widths:
        msg = (
            f"no direction idles in layers of widths {widths} with rank={rank}, so no smaller network is equivalent: "
            "give a smaller rank, or fewer widths that are larger than one before and one after them"
        )
        raise ValueError(msg)


def start_cores(weights: Weights, bases: tuple[Float[Array, "_ _"], ...]) -> tuple[Float[Array, "_ _"], ...]:
    """W~_l(0) / eps = B_l^T W_l(0) B_{l-1} / eps of each layer between two bases: the identity, padded or cut.

    Where a width is larger than one before it and one after it, the mixed directions have other entries.
    """
    if falls_then_rises([len(basis) for basis in bases]):
        return tuple(jnp.eye(V.shape[1], U.shape[1], dtype=U.dtype) for U, V in itertools.pairwise(bases))
    layers = zip(weights, bases, bases[1:], strict=False)
    return tuple(matmul(V.T, _pushed(W, U)) for W, U, V in layers)


def invariant_frames(weights: Weights, target: Float[Array, "d_y d"], rank: int) -> tuple[Frame, ...]:
    """The frames [V_1, U_1 = V_2, ...] of Theorem 1: the bases of ``invariant_bases`` with their idle complements.

    Layer l maps both blocks of frame l-1 to those of frame l, since the layers (in Case 2 all but the last) are square.

    Raises:
        ValueError: as ``invariant_bases``, or a hidden layer is not square.
    """
    bases = invariant_bases(weights, target, rank)
    layers = weights[: len(bases) - 1]
    if any(W.shape[0] != W.shape[1] for W in layers):
        msg = (
            f"the frames of Theorem 1 need hidden layers of the inputs' width, got shapes {[W.shape for W in weights]}"
        )
        raise ValueError(msg)
    idle = [complement(bases[0])]
    for W in layers:
        idle.append(_pushed(W, idle[-1]))
    return tuple(map(Frame, bases, idle))


def _pushed(W: Matrix, block: Float[Array, "d c"]) -> Float[Array, "m c"]:
    """The image of a block under W_l(0)/eps, which preserves lengths."""
    return matmul(W, block) / layer_scale(W)


def _pulled(W: Matrix, block: Float[Array, "m c"]) -> Float[Array, "d c"]:
    return matmul(W.T, block) / layer_scale(W)


def _completed(carried: Float[Array, "m k"], W: Matrix, wanted: Float[Array, "m r"]) -> Float[Array, "m _"]:
    """The carried basis and, next to it, the part of ``wanted`` outside the range of W (m, d), m >= d.

    Any direction outside the range stays outside: W^T maps it to 0.
    """
    if W.shape[0] == W.shape[1]:
        return carried
    beyond = complement(W)
    new = matmul(beyond, jnp.linalg.svd(matmul(beyond.T, wanted), full_matrices=False)[0])
    return jnp.concatenate([carried, new], axis=1)


def _check_chain(weights: Weights, shape: tuple[int, ...]) -> None:
    outs, ins = [W.shape[0] for W in weights], [W.shape[1] for W in weights]
    if outs[:-1] != ins[1:] or (outs[-1], ins[0]) != shape:
        msg = f"weights of shapes {[W.shape for W in weights]} do not form a network with a target of shape {shape}"
        raise ValueError(msg)


def _polar(W: Matrix) -> Matrix:
    """The semi-orthogonal matrix with the row and column space of W."""
    U, _, Vt = jnp.linalg.svd(W, full_matrices=False)
    return matmul(U, Vt)


def block_decomposition(W: Matrix, left: Frame, right: Frame) -> Blocks:
    """The four blocks of U^T W V (Yaras et al. 2023, eq. 5)."""
    return Blocks(
        *(matmul(matmul(block.T, W), other) for block in left for other in right),
    )


def block_deviation(blocks: Blocks, rho: Rate) -> Scalar:
    """Frobenius distance of U^T W V from [[W~, 0], [0, rho I]]; 0 by Theorem 1."""
    idle = blocks.idle - rho * jnp.eye(blocks.idle.shape[0], dtype=blocks.idle.dtype)
    return jnp.linalg.norm(jnp.stack([jnp.linalg.norm(block) for block in (blocks.upper, blocks.lower, idle)]))


def excess_value(W: Matrix, start: Matrix, rho: Rate, *, scale: Rate, rank: int) -> Scalar:
    """sigma_{2r+1}(W_l(t) - (rho(t)/eps) W_l(0)); 0 by Theorem 1, whatever the order of the values."""
    return jnp.linalg.svd(W - (rho / scale) * start, compute_uv=False)[2 * rank]


def split_spectrum(values: Float[Array, " d"], *, rho: Rate, num_idle: int) -> Split:
    """Indices of the idle singular values, the ``num_idle`` closest to |rho|, and of the ones that have moved.

    The choice is by distance and not by order, since the order of rho among the other values changes in training.
    Momentum can make rho negative; the singular value is then -rho.
    """
    closest_first = jnp.argsort(jnp.abs(values - abs(rho)))
    return Split(moved=closest_first[num_idle:], idle=closest_first[:num_idle])


def angle_to_idle(vectors: Float[Array, "d n"], frame: Frame) -> Float[Array, " n"]:
    """Angle in radians of each column to the frame's idle subspace: 0 if the direction idles, pi/2 if it learns."""
    inside, outside = (jnp.linalg.norm(matmul(block.T, vectors), axis=0) for block in (frame.idle, frame.active))
    return jnp.arctan2(outside, inside)


def predicted_spectrum(reduced: Float[Array, "k k"], *, rho: Rate, width: int) -> Float[Array, " d"]:
    """Singular values of W_l(t), descending: those of W~_l(t), and |rho(t)| repeated m = width - 2r times (eq. 8)."""
    active = jnp.linalg.svd(reduced, compute_uv=False)
    idle = jnp.broadcast_to(jnp.asarray(abs(rho), reduced.dtype), (width - active.shape[0],))
    return jnp.sort(jnp.concatenate([active, idle]), descending=True)
