"""The conditions under which the small network equals the full one, measured: the parts of ``Reduction.defect``.

With bases B_l, W_l(t) = (rho/eps) W_l(0) + B_l (W~_l - rho I) B_{l-1}^T holds at every step, for every step size,
weight decay and momentum under three conditions. The bases are orthonormal and contain the target. The layers map each
basis into the next, and back. On the complements rho alone changes: by orthogonality in Case 1; in Case 2 because the
last layer vanishes there, so that the complements have no gradient.
"""

import math

import jax.numpy as jnp
from jax.core import Tracer

from lawlib.types import Array, Matrix, Scalar, Weights, matmul

__all__ = [
    "allowed_defect",
    "basis_parts",
    "check_start",
    "checked_defect",
    "core_identity",
    "probe",
    "scale_parts",
    "square_layer_parts",
    "target_parts",
    "wide_layer_parts",
]

_norm = jnp.linalg.norm
Parts = dict[str, Scalar]


def target_parts(outside: Array, target: Array, rank: int) -> Parts:
    """The norm of the target outside the bases, relative to the target (given as any array of its norm)."""
    return {f"the target has a part outside the bases, as of a rank above {rank}": _relative(outside, target)}


def basis_parts(bases: tuple[Array, ...]) -> Parts:
    """||B^T B - I||_F of each basis."""
    grams = [matmul(B.T, B) - jnp.eye(B.shape[1], dtype=B.dtype) for B in bases]
    return {f"basis {place} is not orthonormal": _norm(gram) for place, gram in enumerate(grams)}


def scale_parts(scale: Scalar) -> Parts:
    """0 for a positive finite scale, else NaN."""
    return {"the scale is not a positive number": jnp.where((scale > 0) & (scale < jnp.inf), 0 * scale, jnp.nan)}


def square_layer_parts(weights: Weights, scale: Scalar) -> Parts:
    """||W^T W / eps^2 - I||_F of each layer of Case 1, with one eps."""
    grams = [matmul(W.T, W) / scale**2 - jnp.eye(len(W), dtype=W.dtype) for W in weights]
    return {_LAYER.format(layer): _norm(gram) for layer, gram in enumerate(grams, start=1)}


def wide_layer_parts(weights: Weights, bases: tuple[Array, ...], scale: Scalar) -> Parts:
    """How far the layers of Case 2 are from eps times a map of each basis to the next, and W_L from their span."""
    parts = {}
    for layer, (W, before, after) in enumerate(zip(weights, bases, bases[1:], strict=False), start=1):
        forth = matmul(W, before) / scale - matmul(after, core_identity(after, before))
        back = matmul(W.T, after) / scale - matmul(before, core_identity(before, after))
        parts[_LAYER.format(layer)] = jnp.maximum(_norm(forth), _norm(back))
    outside = weights[-1] - matmul(matmul(weights[-1], bases[-1]), bases[-1].T)
    return parts | {"the last layer has a part outside the bases": _relative(outside, weights[-1])}


_LAYER = "layer {} is not orthogonal times the first layer's eps"


def core_identity(after: Matrix, before: Matrix) -> Matrix:
    """The identity from the coordinates of one basis to those of the next, (k_l, k_{l-1})."""
    return jnp.eye(after.shape[1], before.shape[1], dtype=after.dtype)


def allowed_defect(tolerance: float | None, blocks: tuple[Array, ...]) -> float:
    """The tolerance, by default a bound on rounding errors in matrices of this size."""
    if tolerance is not None:
        return tolerance
    # More than ten times the rounding error of Haar layers, which is 7 eps sqrt(d) in Case 1 for d = 7 to 1000, in
    # float32 and in float64.
    return 100 * float(jnp.finfo(blocks[0].dtype).eps) * math.sqrt(max(max(block.shape) for block in blocks))


def checked_defect(parts: Parts, tolerance: float) -> Scalar:
    """The largest part, NaN if one is NaN; ValueError if it is not traced and not within the tolerance."""
    defect = jnp.max(jnp.stack(list(parts.values())))
    if isinstance(defect, Tracer) or tolerance == math.inf or defect <= tolerance:
        return defect
    found = "; ".join(f"{what}: {size:.2g}" for what, size in parts.items() if not size <= tolerance)
    msg = (
        f"the small network would not equal the full one: defect {defect:.2g}, tolerance {tolerance:.2g} ({found}). "
        "Start from initializers.orthogonal_weights and give a rank of at least the target's; tolerance=math.inf "
        "accepts any defect"
    )
    raise ValueError(msg)


def probe(W: Matrix) -> Array:
    """W z for a fixed z unrelated to any basis: other weights have another product."""
    return matmul(W, jnp.sin(1 + jnp.arange(W.shape[1], dtype=W.dtype)))


def check_start(weights: Weights, probes: tuple[Array, ...], tolerance: float) -> None:
    """Raise ValueError for weights that are not traced and whose products are not the probes."""
    for layer, (W, known) in enumerate(zip(weights, probes, strict=True), start=1):
        found = probe(W)
        apart = _relative(found - known, known) if found.shape == known.shape else jnp.asarray(jnp.inf)
        if not isinstance(apart, Tracer) and not apart <= tolerance:
            msg = f"layer {layer} of W(0) is not the layer that was reduced: a product with it is off by {apart:.2g}"
            raise ValueError(msg)


def _relative(part: Array, whole: Array) -> Scalar:
    size = _norm(whole)
    return _norm(part) / jnp.where(size == 0, 1, size)
