"""The conditions under which the small network equals the full one, measured: the parts of ``Reduction.defect``.

With bases B_l, W_l(t) = (rho/eps) W_l(0) + B_l (W~_l - (rho/eps) W~_l(0)) B_{l-1}^T holds at every step, for every step
size, weight decay and momentum under three conditions. The bases are orthonormal and contain the target. The layers
map each basis into the next, and back. On the complements rho alone changes: by orthogonality in Case 1; in Case 2
because the last layer vanishes there, so that the complements have no gradient.
"""

import math

import jax.numpy as jnp
from jax.core import Tracer

from lawlib.checks import is_concrete
from lawlib.types import Array, Matrix, Scalar, Weights, matmul

__all__ = [
    "allowed_defect",
    "basis_parts",
    "check_bases",
    "check_start",
    "checked_defect",
    "layer_parts",
    "orthogonal_parts",
    "probe",
    "scale_parts",
    "target_parts",
]

_norm = jnp.linalg.norm
Parts = dict[str, Scalar]


def target_parts(outside: Array, target: Array, rank: int) -> Parts:
    """The norm of the target outside the bases, relative to the target (given as any array of its norm)."""
    return {f"the target has a part outside the bases, as of a rank above {rank}": _relative(outside, target)}


def orthogonal_parts(weights: Weights, scale: Scalar) -> Parts:
    """||(W^T W / eps^2 - I) [z_1, z_2]||_F of each layer (W W^T if it narrows), with eps = ``scale``.

    By products alone: the entries of z_1 and z_2 are sines and cosines, so that no direction of the axes is missed.
    """
    parts = {}
    for layer, W in enumerate(weights, start=1):
        tall = W if W.shape[0] >= W.shape[1] else W.T
        angles = 1 + jnp.arange(tall.shape[1], dtype=W.dtype)
        z = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=1)
        parts[_LAYER.format(layer)] = _norm(matmul(tall.T, matmul(tall, z) / scale) / scale - z)
    return parts


def check_bases(left: Array, right: Array, weights: Weights = (), scale: Scalar | None = None) -> None:
    """Check, unless a value is traced, that two blocks are orthonormal and layers orthogonal times one eps = scale.

    Raises:
        ValueError: they are not.
    """
    blocks = zip(("left", "right"), (left, right), strict=True)
    parts = {f"{name}: ||B^T B - I||_F": gram for name, B in blocks for gram in basis_parts((B,)).values()}
    if scale is not None:
        parts |= {f"{layer}: an error of": size for layer, size in orthogonal_parts(weights, scale).items()}
    if not is_concrete(parts):  # Under jit they are traced even where what is given is known.
        return
    allowed = allowed_defect(None, (left, right, *weights))
    if found := [f"{what} {size:.2g}" for what, size in parts.items() if not size <= allowed]:
        msg = (
            "the bases need orthonormal left and right blocks (such as jnp.linalg.qr(B)[0], of full rank) and layers "
            f"that are orthogonal times one eps (initializers.orthogonal_weights), got {'; '.join(found)}"
        )
        raise ValueError(msg)


def basis_parts(bases: tuple[Array, ...]) -> Parts:
    """||B^T B - I||_F of each basis."""
    grams = [matmul(B.T, B) - jnp.eye(B.shape[1], dtype=B.dtype) for B in bases]
    return {f"basis {place} is not orthonormal": _norm(gram) for place, gram in enumerate(grams)}


def scale_parts(scale: Scalar) -> Parts:
    """0 for a positive finite scale, else NaN."""
    return {"the scale is not a positive number": jnp.where((scale > 0) & (scale < jnp.inf), 0 * scale, jnp.nan)}


def layer_parts(weights: Weights, bases: tuple[Array, ...], cores: tuple[Array, ...], scale: Scalar) -> Parts:
    """How far each layer is from the conditions; ``cores`` are C_l = W~_l(0) / eps.

    Case 1, L + 1 bases: ||W^T W / eps^2 - I||_F with one eps (W W^T where that is smaller). Unless all layers are
    square: how far W_l(0) / eps is from mapping each basis to the next by C_l, and back by C_l^T. Case 2, L bases: the
    same, but for W_L(0), whose norm outside the last basis is measured, relative to its norm.
    """
    if len(bases) == len(weights):
        last = weights[-1]
        outside = last - matmul(matmul(last, bases[-1]), bases[-1].T)
        parts = _invariance(weights, bases, cores, scale)
        return parts | {"the last layer has a part outside the bases": _relative(outside, last)}
    if all(W.shape[0] == W.shape[1] for W in weights):
        return _orthogonality(weights, scale)
    carried = _invariance(weights, bases, cores, scale)
    return {layer: jnp.maximum(part, carried[layer]) for layer, part in _orthogonality(weights, scale).items()}


def _orthogonality(weights: Weights, scale: Scalar) -> Parts:
    tall = [W if W.shape[0] >= W.shape[1] else W.T for W in weights]
    grams = [matmul(W.T, W) / scale**2 - jnp.eye(W.shape[1], dtype=W.dtype) for W in tall]
    return {_LAYER.format(layer): _norm(gram) for layer, gram in enumerate(grams, start=1)}


def _invariance(weights: Weights, bases: tuple[Array, ...], cores: tuple[Array, ...], scale: Scalar) -> Parts:
    parts = {}
    for layer, (W, C, before, after) in enumerate(zip(weights, cores, bases, bases[1:], strict=False), start=1):
        forth = matmul(W, before) / scale - matmul(after, C)
        back = matmul(W.T, after) / scale - matmul(before, C.T)
        parts[_LAYER.format(layer)] = jnp.maximum(_norm(forth), _norm(back))
    return parts


_LAYER = "layer {} is not orthogonal times the first layer's eps"


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
