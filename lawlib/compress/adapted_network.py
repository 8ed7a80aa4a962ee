"""Adapters in the layers of any network: W_0 + Delta in the user's own loss, a start from its gradient, and the merge.

The kernel of a layer, an array of any rank, is read as a matrix (inputs, outputs) by a ``Matricization``. This matrix
is W_0^T, and the layer's ``Adapter`` is that of W_0: ``left`` has the outputs, ``right`` the inputs. The products with
Delta are added inside the loss (``linalg.shifted_loss``), whichever framework it is written in: two thin products for
each product with the kernel, and Delta is never formed. So a layer can have an adapter if the loss only multiplies by
its kernel. The adapters are a tree of their own, {name: Adapter}, to be trained by any optimizer. An array that is a
stack of L kernels, over which the network scans, has one ``Adapter`` of arrays with a first axis of length L.
"""

import functools as ft
import math
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lawlib.checks import is_concrete, number_fault, refuse, whole_fault
from lawlib.compress.adapters import Adapter, change, gradient_lora
from lawlib.compress.deep_linear import LowRank
from lawlib.frameworks.nnx import functional, holds_modules, split
from lawlib.linalg.batches import trace_of_a_batch
from lawlib.linalg.gradient_checks import matrix_names
from lawlib.linalg.gradients import joint_gradient_products
from lawlib.linalg.kernel_uses import as_used, read_as
from lawlib.linalg.leaves import Leaf, Where, array_leaves, pick
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.shifted_loss import Uses, shifted_results
from lawlib.linalg.shifts import Shift, zero_shift
from lawlib.linalg.spectra import Certified, joint_block_krylov_svd, search_faults
from lawlib.types import Array, PRNGKey, PyTree, Rate, Scalar, matmul

__all__ = ["AdaptedNetwork", "Start", "adapt", "with_adapters"]

Layers = Mapping[str, Matricization]
IN_A_MAPPING = "pass layers={its name: Matricization(...), ...}"
# A product of two of them is (W_0 + Delta)(W_0' + Delta'), whose last term is no thin product with an input.
PAIRS = "a product takes two kernels with adapters, or one of them twice"


class Start(NamedTuple):
    """The adapters at the start, and the certified triplets of the gradients that they are made from, by layer.

    ``gradients`` are those in the kernels' matrices (inputs, outputs), with a first axis for a stack of kernels.
    """

    adapters: dict[str, Adapter]
    gradients: dict[str, Certified]


class AdaptedNetwork(NamedTuple):
    """A network with adapters: ``layers`` says how the kernel of each is read as a matrix (inputs, outputs), by name.

    ``init(key, params, batches)`` is the ``Start``, with the triplets of the gradient of the losses summed over all
    batches. ``loss(adapters, params, batch)`` is the given loss with W_0 + Delta in place of each W_0, so that
    ``jax.grad(loss)`` is the gradient in the adapters alone. ``merge(params, adapters)`` are parameters like the given
    ones, with the sums in place of the kernels and in their dtypes; a Flax NNX model gives a new model. All three are
    pure, and ``init`` and ``loss`` are to be jitted (an Equinox model by ``eqx.filter_jit``), with the parameters as an
    argument: a compiled function contains a copy of the arrays that it closes over.
    """

    layers: dict[str, Matricization]
    init: Callable[[PRNGKey, PyTree, PyTree], Start]
    loss: Callable[[Mapping[str, Adapter], PyTree, Any], Scalar]
    merge: Callable[[PyTree, Mapping[str, Adapter]], PyTree]


def adapt(
    loss: Callable[[PyTree, Any], Scalar],
    params: PyTree,
    batches: PyTree,
    *,
    rank: int,
    layers: Sequence[Where] | Mapping[Where, Matricization] | None = None,
    scale: Rate = 1.0,
    oversample: int = 10,
    tolerance: float | None = 0.1,
    max_passes: int = 4,
) -> AdaptedNetwork:
    """Adapters of this rank in the layers of any network, from the directions of the full-data gradient.

    ``loss(params, batch)``, ``params`` and ``batches`` are those of ``linalg.gradients.gradient_products``: any pytree,
    an Equinox model or a Flax NNX model, and batches along a leading axis. ``layers`` are names of kernels,
    "params/Dense_0/kernel", or functions that pick them, ``lambda model: model.query.kernel``; how each is read as a
    matrix is found in the loss, or given in a mapping. By default all kernels that the loss multiplies by in one way
    (``linalg.gradients.matricizations``) have adapters. Of a stack of layers all have one, or that of the
    ``batch_index`` of its matricization. Nothing is computed here: one batch is traced.

    Each adapter starts as ``adapters.gradient_lora`` in the ``rank`` leading triplets of the gradient in its kernel, by
    the route "matrix_free", which forms no array of the kernel's size: Delta = 0, the loss is that of the given
    network, and the first step of gradient descent is the best approximation of this rank to that of the whole kernel.
    ``oversample``, ``tolerance`` and ``max_passes`` are those of ``joint_block_krylov_svd``: by default there are at
    most two pairs of passes, since a start needs directions, not digits; one that is not certified says so. All layers
    share the passes, in one program; the random columns of each depend on the key and the layer's name alone, so that
    its start is the same, to rounding, whichever other layers have adapters. Memory is that of the activations of one
    batch, and of the blocks of all layers, of rank + oversample columns each, more of them for more passes. Outside
    jit the products are also checked on the first batch, against the gradients in all kernels.
    Other starts, such as ``adapters.lora`` and ``adapters.deep_lora``, fit as well: ``loss`` and ``merge`` take
    any adapters of these layers. Factors have the dtype of the kernel, and at least float32.

    Raises:
        ValueError: no layers, or one that is named twice; leaves that ``leaves.pick`` refuses, such as integer arrays;
            a leaf that is no matrix and that the loss does not multiply by in one way, without a matricization; a
            kernel that the loss does not use, or uses in any other operation than a product or a convolution with
            something else; a rank outside 1..min(m, n) of a kernel's matrix; options that ``block_krylov_svd`` refuses;
            batches or a loss that ``batches.check_batches`` refuses. From ``loss`` and ``merge``, adapters of other
            layers. From ``init``, outside jit, a loss or a gradient that is not finite.

    Warns:
        UserWarning: from ``init``, outside jit, a gradient of 0, which has no directions to start in, or one that
            underflows in the network's dtypes, such as float16.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> def loss(params, batch):
        ...     return jnp.sum((jnp.tanh(batch[0] @ params["first"]) @ params["last"] - batch[1]) ** 2)
        >>> params = {"first": jnp.full((20, 30), 0.1), "last": jnp.eye(30, 3)}
        >>> batches = jax.random.normal(jax.random.key(0), (2, 50, 20)), jnp.zeros((2, 50, 3))
        >>> network = lawlib.compress.adapt(loss, params, batches, rank=2, layers=["first"])
        >>> adapters, gradients = network.init(jax.random.key(1), params, batches)
        >>> gradient = jax.grad(network.loss)(adapters, params, (batches[0][0], batches[1][0]))
        >>> gradient["first"].left.shape, network.merge(params, adapters)["first"].shape
        ((30, 2), (20, 30))
    """
    faults = search_faults(oversample, max_passes, tolerance)
    refuse(whole_fault("rank", rank, least=1), number_fault("scale", scale, above=0.0), *faults)
    read = _checked_layers(loss, params, batches, layers, rank)
    search = {"oversample": oversample, "tolerance": tolerance, "max_passes": max_passes}

    def init(key: PRNGKey, params: PyTree, batches: PyTree) -> Start:
        products = joint_gradient_products(loss, params, read, batches)
        # By name, so that a layer has the same start whichever other layers have adapters.
        keys = {name: jax.random.fold_in(key, zlib.crc32(name.encode())) for name in read}
        for name, (*stack, _, _) in products.shapes.items():
            keys[name] = jax.random.split(keys[name], *stack) if stack else keys[name]
        found = joint_block_krylov_svd(keys, products, rank, **search)
        _check_values(found)
        triplets = {name: LowRank(of.svd.right, of.svd.values, of.svd.left) for name, of in found.items()}
        return Start({name: gradient_lora(each, scale=scale) for name, each in triplets.items()}, found)

    return AdaptedNetwork(read, init, with_adapters(loss, read), ft.partial(_merge, read))


def with_adapters(
    function: Callable[[PyTree, Any], Any], layers: Layers
) -> Callable[[Mapping[str, Adapter], PyTree, Any], Any]:
    """The function(params, batch) with W_0 + Delta in place of W_0 in these layers: function(adapters, params, batch).

    ``function`` is a loss, predictions or anything else that only multiplies by the kernels, and returns a tree of
    arrays; ``layers`` are those of ``AdaptedNetwork``.

    Raises:
        ValueError: when called, other uses of a kernel, or adapters of other layers.
    """

    def adapted(adapters: PyTree, params: PyTree, batch: Any) -> Any:
        plain, state, _ = _functional(function, params)
        arrays, names, tree = array_leaves(state)
        _check_adapters(layers, adapters, dict(zip(names, arrays, strict=True)))

        def of_arrays(arrays: list[Any], batch: Any) -> Any:
            return plain(tree(arrays), batch)

        closed, results = jax.make_jaxpr(of_arrays, return_shape=True)(arrays, batch)
        inputs = [jnp.asarray(each) for each in (*arrays, *jax.tree.leaves(batch))]
        places = {name: names.index(name) for name in layers}
        uses = _no_uses(layers)
        shifts = {places[name]: (_shift(adapters[name]), read, uses[name]) for name, read in layers.items()}
        outputs = shifted_results(closed, inputs, shifts)
        _refuse_uses({name: of for name, of in uses.items() if of.products or of.others})
        return jax.tree.unflatten(jax.tree.structure(results), outputs)

    return adapted


def _merge(layers: Layers, params: PyTree, adapters: PyTree) -> PyTree:
    """Parameters like the given ones, with W_0 + Delta in the kernels."""
    state, rebuilt = split(params) if holds_modules(params) else (params, lambda state: state)
    arrays, names, tree = array_leaves(state)
    held = dict(zip(names, arrays, strict=True))
    _check_adapters(layers, adapters, held)
    sums = {name: _sum(held[name], read, adapters[name]) for name, read in layers.items()}
    return rebuilt(tree([sums.get(name, array) for name, array in held.items()]))


def _sum(kernel: Array, read: Matricization, adapter: Adapter) -> Array:
    """W_0 + Delta, rounded once, as an array like the kernel."""
    shift, K = _shift(adapter), read.matrices(kernel) if read.stack(kernel.shape) else read.matrix(kernel)
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.promote_types(K.dtype, shift.left.dtype)
    return read.leaf(K.astype(dtype) + matmul(shift.left, jnp.swapaxes(shift.right, -1, -2)).astype(dtype), kernel)


def _shift(adapter: Adapter) -> Shift:
    """Delta^T, as the kernel's matrix is W_0^T."""
    left, right = change(adapter)
    return Shift(right, left)


def _functional(function: Callable, params: PyTree, where: Where = "") -> tuple[Callable, PyTree, Where]:
    return functional(function, params, where) if holds_modules(params) else (function, params, where)


# What is allowed. -----------------------------------------------------------------------------------------------------


def _checked_layers(
    loss: Callable, params: PyTree, batches: PyTree, layers: Any, rank: int
) -> dict[str, Matricization]:
    """How each layer is read, by name, in the order given."""
    plain, state, _ = _functional(loss, params)
    arrays, names, tree = array_leaves(state)
    program = trace_of_a_batch(lambda arrays, batch: plain(tree(arrays), batch), arrays, batches)
    used = {name: as_used(program.jaxpr, place) for place, name in enumerate(names)}
    given = _given([name for name, read in used.items() if read], layers)
    leaves = [pick(state, _functional(loss, params, where)[2]) for where, _ in given]
    read = {
        leaf.name: read_as(leaf, matricization or used[leaf.name], program, IN_A_MAPPING, stacks=True)
        for leaf, (_, matricization) in zip(leaves, given, strict=True)
    }
    if twice := sorted(name for name, count in Counter(leaf.name for leaf in leaves).items() if count > 1):
        msg = f"each layer has one adapter, and {twice} are named more than once: name them once"
        raise ValueError(msg)
    sizes = {leaf.name: read[leaf.name].shape(leaf.value) for leaf in leaves}
    narrow = {name: size for name, size in sizes.items() if rank > min(size)}
    too_large = (
        f"the rank must be at most the smaller side of each kernel's matrix, got rank={rank} and {narrow}: name other "
        f"layers, or take a smaller rank"
    )
    refuse(too_large if narrow else "")
    first = jax.eval_shape(lambda held: jax.tree.map(lambda x: x[0], held), batches)
    uses = _no_uses(read)
    zeros = {leaf.place: (_zero(leaf, read[leaf.name]), read[leaf.name], uses[leaf.name]) for leaf in leaves}
    jax.eval_shape(lambda inputs: shifted_results(program, inputs, zeros), [*arrays, *jax.tree.leaves(first)])
    _refuse_uses(uses)
    return read


def _given(found: Iterable[str], layers: Any) -> list[tuple[Where, Matricization | None]]:
    """The layers that are asked for, each as often as it is named, with matricizations where they are given."""
    if isinstance(layers, str) or not (layers is None or isinstance(layers, Iterable)):
        msg = f"layers must be a list of names or functions, or a mapping of them to matricizations, got {layers!r}"
        raise ValueError(msg)
    given: list[tuple[Where, Matricization | None]] = []
    if isinstance(layers, Mapping):
        given += layers.items()
    else:
        given += [(where, None) for where in (found if layers is None else layers)]
    if not given:
        msg = f"an adapted network has one layer or more; the loss multiplies by the arrays {[*found]}"
        raise ValueError(msg)
    return given


def _no_uses(names: Iterable[str]) -> dict[str, Uses]:
    return {name: Uses([], [], []) for name in names}


def _check_values(found: Mapping[str, Certified]) -> None:
    """Refuse gradients that are not finite, and warn of those that are 0; traced ones are not certified."""
    if not is_concrete(dict(found)):
        return
    values = {
        at: one
        for name, of in found.items()
        for at, one in zip(matrix_names(name, of.svd.values[..., 0]), np.atleast_2d(of.svd.values), strict=True)
    }
    wrong = [name for name, of in values.items() if not np.all(np.isfinite(of))]
    advice = "check the data of all batches, the parameters and the dtypes"
    refuse(f"the gradient in the kernels {wrong} is not finite: {advice}" if wrong else "")
    if zero := [name for name, of in values.items() if not of[0] > 0]:
        msg = (
            f"the gradient in the kernels {zero} is 0, and their adapters start in arbitrary directions: check whether "
            f"the loss depends on them, and whether weights after them are 0"
        )
        warnings.warn(msg, stacklevel=3)


def _zero(leaf: Leaf, read: Matricization) -> Shift:
    wide = leaf.value.dtype if jnp.finfo(leaf.value.dtype).bits >= 32 else jnp.float32
    stack = read.stack(leaf.value.shape)
    return zero_shift((*([math.prod(stack)] if stack else []), *read.shape(leaf.value)), wide)


def _refuse_uses(found: Mapping[str, Uses]) -> None:
    """Raise ValueError for kernels that a program does not only multiply by, each with the reason."""
    faults = {name: uses.fault() or (PAIRS if uses.pairs else "") for name, uses in found.items()}
    wrong = "; ".join(f"{name!r}: {fault}" for name, fault in faults.items() if fault)
    refuse(f"an adapter needs a kernel that is only multiplied by; name other layers than {wrong}" if wrong else "")


def _check_adapters(layers: Layers, adapters: Any, held: Mapping[str, Any]) -> None:
    """Raise ValueError if the adapters are not those of these layers, or the parameters do not have the layers."""
    if not isinstance(adapters, Mapping) or set(adapters) != set(layers):
        given = sorted(adapters) if isinstance(adapters, Mapping) else type(adapters).__name__
        msg = f"the adapted layers are {sorted(layers)}, got adapters {given}: they belong to another network or start"
        raise ValueError(msg)
    refuse(*(_fault(name, read, adapters[name], held) for name, read in layers.items()))


def _fault(name: str, read: Matricization, adapter: Any, held: Mapping[str, Any]) -> str:
    """Why an adapter does not fit its kernel; empty if it does."""
    if name not in held:
        return f"the parameters have no array {name!r}, which has an adapter; they have {[*held]}"
    if not isinstance(adapter, Adapter):
        return f"the layer {name!r} needs an Adapter, got {type(adapter).__name__}"
    try:
        stack = read.stack(jnp.shape(held[name]))
        if not stack:
            read.indices(jnp.shape(held[name]))
    except ValueError as error:
        return f"the layer {name!r} is not the one that was adapted: {error}"
    m, n = read.shape(held[name])
    shapes = [jnp.shape(factor) for factor in (adapter.left, *adapter.core, adapter.right)]
    k = shapes[-1][-1] if shapes[-1] else 1
    lengths = (math.prod(stack),) if stack else ()
    wanted = [(*lengths, n, k), *[(*lengths, k, k)] * len(adapter.core), (*lengths, m, k)]
    fits = shapes == wanted
    return "" if fits else f"the adapter of {name!r}, a kernel ({m}, {n}), must have factors {wanted}, got {shapes}"
