"""One large network on several devices: each holds all weights and takes a part of the samples of a batch.

The loss is an ordinary JAX function, whose derivatives are JAX's own. The weights enter the devices' program as one
vector, so that the transpose of that entry, which a gradient runs, is one all-reduce however many arrays they are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lawlib.types import Array, Float, PyTree, Scalar

__all__ = ["SAMPLES", "data_parallel"]

SAMPLES = "samples"


def data_parallel(
    losses: Callable[..., Float[Array, " n"]], axis: str = SAMPLES, mesh: Mesh | None = None
) -> Callable[..., Scalar]:
    """The mean loss over a batch, with its samples divided over the devices of a mesh axis.

        L(weights) = 1/n sum_i losses(weights, samples)_i,    N devices with n / N samples each

    ``losses(weights, samples, *common)`` returns one number for each sample; the reduction, a mean, is this function's.
    The leading axis of every array of ``samples`` runs over the samples; ``common`` is the same for all of them.
    The new function takes the same arguments in full, and is what ``jnp.mean(losses(...))`` is on one device, up to
    rounding: it has derivatives of every order in all arguments, under jit, vmap and loops. A gradient costs one
    all-reduce for each dtype of the weights, and the loss itself a number more.

    Each sample's loss must depend on that sample alone. What does not (statistics of the batch, draws of the batch's
    size from one key) would be of a device's own samples. Keys belong to the samples, one for each, and are refused in
    ``common``. The rest is found by a call with arrays, outside of jit and of derivatives: it compares the losses of
    the parts with those of the whole batch.

    Args:
        losses: The losses of any number of samples.
        axis: The axis of the mesh over which samples are divided.
        mesh: The mesh; by default that of ``jax.set_mesh`` or of the ``shard_map`` over other axes around the call.

    Raises:
        ValueError: There is no such axis, or a ``shard_map`` around the call is over it or checks varying axes; arrays
            of samples differ in length or cannot be divided evenly; a key is in ``common``; ``losses`` does not return
            one number for each sample, or a call with arrays finds that they depend on other samples.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lawlib.descent.data_parallel import data_parallel
        >>> def losses(weights, samples):
        ...     return (samples["x"] @ weights["w"] + weights["b"] - samples["y"]) ** 2
        >>> mesh = jax.make_mesh((jax.device_count(),), ("samples",))
        >>> loss = data_parallel(losses, mesh=mesh)
        >>> weights = {"w": jnp.ones(2), "b": jnp.zeros(())}
        >>> samples = {"x": jnp.ones((8, 2)), "y": jnp.zeros(8)}
        >>> value, gradient = jax.jit(jax.value_and_grad(loss))(weights, samples)
        >>> float(value), gradient["w"].tolist(), float(gradient["b"])
        (4.0, [4.0, 4.0], 4.0)
    """

    def loss(weights: PyTree, samples: PyTree, *common: PyTree) -> Scalar:
        given = weights, samples, common
        over = _mesh_with(axis, mesh, given)
        parts = over.shape[axis]
        _check_samples(samples, parts, axis)
        _check_common(common)
        if not any(isinstance(x, Tracer) for x in jax.tree.leaves(given)):
            _check_apart(losses, given, parts)
        vectors, restore = _raveled(weights)

        def own(vectors: list[Array], samples: PyTree, common: PyTree) -> Float[Array, " 1"]:
            return jnp.mean(_checked(losses(restore(vectors), samples, *common), _length(samples)))[None]

        # Without the check of varying axes losses may contain any loop. Its absence is safe where, as here, every
        # result has the axis in its specification, and no collective is in the body.
        specs = {"in_specs": (P(), P(axis), P()), "out_specs": P(axis), "axis_names": {axis}, "check_vma": False}
        placed = _resharded((vectors, samples, common), specs["in_specs"], over, axis)
        return jnp.mean(jax.shard_map(own, mesh=over, **specs)(*placed))

    return loss


def _raveled(tree: PyTree) -> tuple[list[Array], Callable[[list[Array]], PyTree]]:
    """The leaves as one vector for each dtype, and the way back."""
    leaves, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, tree))
    places = {dtype: [i for i, x in enumerate(leaves) if x.dtype == dtype] for dtype in {x.dtype: None for x in leaves}}
    each = [ravel_pytree([leaves[i] for i in own]) for own in places.values()]

    def restore(vectors: list[Array]) -> PyTree:
        back = dict(
            pair
            for own, (_, unravel), vector in zip(places.values(), each, vectors, strict=True)
            for pair in zip(own, unravel(vector), strict=True)
        )
        return jax.tree.unflatten(structure, [back[i] for i in range(len(leaves))])

    return [vector for vector, _ in each], restore


def _resharded(given: tuple, specs: tuple, mesh: Mesh | AbstractMesh, axis: str) -> tuple:
    """The same values; on a mesh whose shardings are types, as ``jax.make_mesh`` makes it, with the types of specs."""
    if dict(zip(mesh.axis_names, mesh.axis_types, strict=True))[axis] is not AxisType.Explicit:
        return given
    each = zip(given, specs, strict=True)
    return tuple(jax.reshard(tree, NamedSharding(mesh, spec)) if jax.tree.leaves(tree) else tree for tree, spec in each)


def _mesh_with(axis: str, mesh: Mesh | None, given: PyTree) -> Mesh | AbstractMesh:
    """The mesh of the call; in a ``shard_map`` that of the surroundings, whose other axes are divided already."""
    around = jax.sharding.get_abstract_mesh()
    over = mesh if mesh is not None and not around.manual_axes else around
    if axis not in over.axis_names:
        known = f"the axes here are {', '.join(map(repr, over.axis_names))}" if over.axis_names else "there is no mesh"
        msg = f"samples cannot be divided over the mesh axis {axis!r}: {known}; give mesh=, or call it in jax.set_mesh"
        raise ValueError(msg)
    if axis in around.manual_axes:
        msg = f"the shard_map around this call is over {axis!r} itself; call it outside of that, with whole batches"
        raise ValueError(msg)
    if varying := {name for x in jax.tree.leaves(given) for name in jax.typeof(x).manual_axis_type.varying}:
        names = ", ".join(map(repr, sorted(varying)))
        msg = f"the shard_map over {names} around this call checks varying axes; give it check_vma=False"
        raise ValueError(msg)
    return over


def _length(samples: PyTree) -> int:
    return jax.tree.leaves(samples)[0].shape[0]


def _check_samples(samples: PyTree, parts: int, axis: str) -> None:
    """Refuse what has no common leading axis that the devices can divide."""
    lengths = {jax.tree_util.keystr(path): np.shape(x)[:1] for path, x in jax.tree_util.tree_leaves_with_path(samples)}
    if not lengths:
        msg = "a batch needs an array whose leading axis runs over the samples, got none"
        raise ValueError(msg)
    if scalars := [name or "the batch" for name, length in lengths.items() if not length]:
        msg = f"{scalars[0]} is one number and has no leading axis over the samples; give what all share after samples"
        raise ValueError(msg)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, (length,) in lengths.items())
        msg = f"all arrays of a batch must have one leading axis, over the samples; their lengths are {told}"
        raise ValueError(msg)
    ((count,),) = set(lengths.values())
    if count == 0 or count % parts:
        msg = f"the number of samples must be a multiple of the {parts} devices of axis {axis!r}, got {count}"
        raise ValueError(msg)


def _check_common(common: PyTree) -> None:
    if any(jnp.issubdtype(jax.typeof(x).dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(common)):
        msg = (
            "a key that all samples share would give each device the same draws; split it into one key for each "
            "sample, and give the keys among the samples"
        )
        raise ValueError(msg)


def _checked(found: Any, count: int) -> Float[Array, " n"]:
    """What ``losses`` returned, if it is one number for each sample."""
    if isinstance(found, jax.Array) and found.shape == (count,) and jnp.issubdtype(found.dtype, jnp.floating):
        return found
    what = f"{found.dtype} of shape {found.shape}" if isinstance(found, jax.Array) else f"a {type(found).__name__}"
    msg = (
        f"losses must return one floating-point number for each sample, here an array of shape ({count},), got {what}; "
        "leave the mean over the samples to data_parallel, and compute auxiliary results apart"
    )
    raise ValueError(msg)


def _check_apart(losses: Callable[..., Array], given: tuple[PyTree, PyTree, PyTree], parts: int) -> None:
    """Refuse losses of parts that are not those of the whole batch, up to the square root of the relative rounding."""
    weights, samples, common = given
    count = _length(samples)
    whole = np.asarray(_checked(losses(weights, samples, *common), count).astype(float))
    size = count // parts
    cuts = [jax.tree.map(lambda x, i=i: x[i * size : (i + 1) * size], samples) for i in range(parts)]
    own = [_checked(losses(weights, cut, *common), size) for cut in cuts]
    near = np.sqrt(jnp.finfo(own[0].dtype).eps) * np.max(np.abs(whole), initial=0.0)
    if not np.allclose(np.concatenate(own).astype(float), whole, rtol=0, atol=near, equal_nan=True):
        msg = (
            f"the losses of {parts} parts of the batch are not those of the whole batch: a sample's loss depends on "
            "other samples (statistics of the batch, or draws of its size from one key), and cannot be divided"
        )
        raise ValueError(msg)
