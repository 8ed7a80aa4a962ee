"""One large network on several devices: each holds all weights and takes a part of the samples of a batch.

The loss is an ordinary JAX function, whose derivatives are JAX's own. The weights enter the devices' program as one
vector, so that the transpose of that entry, which a gradient runs, is one all-reduce however many arrays they are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lawlib.types import Array, Float, PyTree, Scalar

__all__ = ["SAMPLES", "data_parallel"]

SAMPLES = "samples"
DRAWS = {"random_bits", "random_gamma", "threefry2x32", "rng_bit_generator", "rng_uniform"}
SHARED_KEY = (
    "losses may not draw from a key that all samples share (in the weights, in common or from outside), since each "
    "device would draw the same numbers; give each sample its own key, jax.random.split(key, n) as part of samples"
)


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

    Each sample's loss must depend on that sample alone. Keys belong to the samples, one for each: ``losses`` may draw
    random numbers only from what it computes from ``samples``, since each device would draw the same from anything
    else, and another draw is refused, under jit as well. Statistics of the batch would be those of a device's own
    samples, which is not seen under jit or in a derivative. Call the loss once with arrays, outside of both: that
    compares the losses of the parts with those of the whole batch.

    Args:
        losses: The losses of any number of samples.
        axis: The axis of the mesh over which samples are divided.
        mesh: The mesh; by default that of ``jax.set_mesh`` or of the ``shard_map`` over other axes around the call.
            Outside of jit, derivatives in arrays that are divided over its explicit axes need ``jax.set_mesh``.

    Raises:
        ValueError: There is no such axis, or a ``shard_map`` around the call is over it or checks varying axes; arrays
            of samples differ in length or cannot be divided evenly; a key is in the weights or in ``common``, or
            ``losses`` draws from what does not come from the samples; it does not return one number for each sample,
            or a call with arrays finds that they depend on other samples.

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
        weights, samples, common = given = _untyped((weights, samples, common))
        over = _mesh_with(axis, mesh, given)
        parts = over.shape[axis]
        _check_samples(samples, parts, axis)
        _check_keys((weights, common))
        if not any(isinstance(x, Tracer) for x in jax.tree.leaves(given)):
            _check_apart(losses, given, parts)
        vectors, restore = _raveled(jax.tree.map(_whole, weights))

        def own(vectors: list[Array], samples: PyTree, common: PyTree) -> Float[Array, " 1"]:
            each = restore(vectors), samples, common
            _check_draws(losses, each)
            return jnp.mean(_found(losses, each))[None]

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


def _untyped(given: tuple) -> tuple:
    """The same values; arrays that no trace holds without the types of a mesh, which a gradient cannot begin from."""
    typed = [x for x in jax.tree.leaves(given) if _is_typed(x)]
    if not jax.sharding.get_abstract_mesh().empty or any(isinstance(x, Tracer) for x in typed):
        return given

    def of(x: Any) -> Any:
        return jax.device_put(x, NamedSharding(_auto(x.sharding.mesh), x.sharding.spec)) if _is_typed(x) else x

    return jax.tree.map(of, given)


def _is_typed(x: Any) -> bool:
    return AxisType.Explicit in jax.typeof(x).sharding.mesh.axis_types


def _auto(mesh: Mesh) -> Mesh:
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def _whole(x: Array) -> Array:
    """The same values; with the type of an array that every device holds, where shardings are types."""
    sharding = jax.typeof(x).sharding
    divided = any(part is not None for part in sharding.spec)
    return jax.reshard(x, NamedSharding(sharding.mesh, P())) if divided else x


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
    if isinstance(over, Mesh) and around.empty and not any(_is_typed(x) for x in jax.tree.leaves(given)):
        over = _auto(over)  # types that only this call brings in would stay in its result
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


def _check_keys(shared: PyTree) -> None:
    if any(jnp.issubdtype(jax.typeof(x).dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(shared)):
        raise ValueError(SHARED_KEY)


def _check_draws(losses: Callable[..., Array], given: tuple[PyTree, PyTree, PyTree]) -> None:
    """Refuse random numbers that do not come from the samples, such as those of a key from outside ``losses``."""
    program = jax.make_jaxpr(lambda *given: _found(losses, given))(*given).jaxpr
    _from_samples(program, [place == 1 for place, tree in enumerate(given) for _ in jax.tree.leaves(tree)])


def _from_samples(jaxpr: jax.extend.core.Jaxpr, given: list[bool]) -> list[bool]:
    """Which results come from the samples, where the inputs do as ``given`` says; refuses draws that do not."""
    held = dict(zip(jaxpr.invars, given, strict=True))

    def read(variables: list[Any]) -> list[bool]:
        return [not isinstance(v, jax.extend.core.Literal) and held.get(v, False) for v in variables]

    for equation in jaxpr.eqns:
        own = read(equation.invars)
        if equation.primitive.name in DRAWS and not any(own):
            raise ValueError(SHARED_KEY)
        held |= zip(equation.outvars, _results_from_samples(equation, own), strict=True)
    return read(jaxpr.outvars)


def _results_from_samples(equation: jax.extend.core.JaxprEqn, given: list[bool]) -> list[bool]:
    """The same for the results of an equation, whose inner programs are followed."""
    name, params = equation.primitive.name, equation.params
    inner = list(jax.extend.core.jaxprs_in_params(params))
    if name == "while":
        ahead, at = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        until, body = (getattr(params[part], "jaxpr", params[part]) for part in ("cond_jaxpr", "body_jaxpr"))
        carry = _carried(body, given[ahead:at], given[at:], [])
        _from_samples(until, given[:ahead] + carry)
        return carry
    if name == "scan":
        (body,) = inner
        # What a scan runs over, and what it stacks, has one axis more than inside; the names of its parameters vary.
        at = sum(map(_same_axes, equation.invars, body.invars))
        consts = at - sum(map(_same_axes, equation.outvars, body.outvars))
        fixed, each = given[:consts], given[at:]
        carry = _carried(body, fixed, given[consts:at], each)
        return carry + _from_samples(body, fixed + carry + each)[len(carry) :]
    if name == "cond":
        branches = [_from_samples(branch, given[1:]) for branch in inner]
        return [given[0] or any(result) for result in zip(*branches, strict=True)]
    if len(inner) == 1 and len(inner[0].invars) == len(given) and len(inner[0].outvars) == len(equation.outvars):
        return _from_samples(inner[0], given)
    for body in inner:
        _from_samples(body, [any(given)] * len(body.invars))
    return [any(given)] * len(equation.outvars)


def _same_axes(outer: Any, inner: Any) -> bool:
    return len(outer.aval.shape) == len(inner.aval.shape)


def _carried(body: jax.extend.core.Jaxpr, fixed: list[bool], carry: list[bool], each: list[bool]) -> list[bool]:
    """What a loop carries that comes from the samples after any number of its steps."""
    while True:
        after = _from_samples(body, fixed + carry + each)[: len(carry)]
        joined = [a or b for a, b in zip(carry, after, strict=True)]
        if joined == carry:
            return carry
        carry = joined


def _found(losses: Callable[..., Array], given: tuple[PyTree, PyTree, PyTree]) -> Float[Array, " n"]:
    """What ``losses`` returns, if it is one number for each sample."""
    weights, samples, common = given
    found, count = losses(weights, samples, *common), _length(samples)
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
    weights, samples, common = given = jax.tree.map(_whole, given)
    whole = _found(losses, given)
    if isinstance(whole, Tracer):  # a trace is on although no argument is of it
        return
    size = _length(samples) // parts
    cuts = [jax.tree.map(lambda x, i=i: x[i * size : (i + 1) * size], samples) for i in range(parts)]
    own = np.concatenate([np.asarray(_found(losses, (weights, cut, common)), float) for cut in cuts])
    if not _are_near(own, np.asarray(whole, float), float(np.sqrt(jnp.finfo(whole.dtype).eps))):
        msg = (
            f"the losses of {parts} parts of the batch are not those of the whole batch: a sample's loss depends on "
            "other samples (statistics of the batch, or draws of its size from one key), and cannot be divided"
        )
        raise ValueError(msg)


def _are_near(own: Float[np.ndarray, " n"], whole: Float[np.ndarray, " n"], part: float) -> bool:
    """Whether the same losses are finite, and those differ by ``part`` of their own and of the mean magnitude."""
    finite = np.isfinite(whole)
    if np.any(np.isfinite(own) != finite):
        return False
    sizes = np.abs(whole[finite])
    return bool(np.all(np.abs(own[finite] - whole[finite]) <= part * (sizes + np.sum(sizes) / max(sizes.size, 1))))
