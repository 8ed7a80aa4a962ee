"""Products with the gradient of a loss in one layer's weight, for any Flax network; matrix-free for plain layers.

The gradient in the parameter itself is correct for any use of the parameter, and needs an array of its shape. Products
with b columns of the gradient need only (m + n) b numbers: they are derivatives of the loss in the factors of a
low-rank shift of the weight, which the layer applies as two thin products. The two agree only if the layer is a plain
product.
"""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.typing import DTypeLike

from lawlib.linalg.batches import check_batches, trace_of_a_batch
from lawlib.linalg.kernel_uses import float_dtypes, leaf_index
from lawlib.linalg.plain_layers import MEND, check_plain, shifted
from lawlib.linalg.spectra import Products, matrix_products
from lawlib.types import Array, Float, Matrix, PyTree, Scalar, matmul

__all__ = ["Shift", "check_variables", "gradient_products", "kernel_gradient_products"]

ROUTES = ("parameter", "matrix_free")
# The two routes may differ by the rounding errors of products in half precision. A wrong gradient differs by more.
AGREEMENT = 2.0**-6
MARGIN = 10.0


class Shift(NamedTuple):
    """The matrix M = left right^T (m, n) to be added to a weight of this shape, as left (m, b) and right (n, b)."""

    left: Float[Array, "m b"]
    right: Float[Array, "n b"]

    def columns(self, x: Array) -> Float[Array, "m ..."]:
        """The product M x for samples in columns, x (n, N), to be added to W x; at least in the dtype of the shift."""
        x, left, right = self._promoted(x)
        return matmul(left, matmul(right.T, x))

    def rows(self, x: Array) -> Float[Array, "*N n"]:
        """The product x M for samples in rows, x (*N, m), to be added to x K, K a kernel; dtype as in ``columns``."""
        x, left, right = self._promoted(x)
        return matmul(matmul(x, left), right.T)

    def _promoted(self, x: Array) -> tuple[Array, Array, Array]:
        """All in the dtype of the shift, or of the inputs where that is more precise; integers are converted."""
        with jax.numpy_dtype_promotion("standard"):
            dtype = jnp.promote_types(x.dtype, self.left.dtype)
        return x.astype(dtype), self.left.astype(dtype), self.right.astype(dtype)


def gradient_products(
    loss: Callable[[Shift, Any], Scalar],
    batches: PyTree,
    shape: tuple[int, int],
    dtype: DTypeLike = jnp.float32,
) -> Products:
    """Products with G = sum_i dloss(W, batch_i)/dW (m, n), ``shape`` = (m, n): one pass over the data for each block.

    ``loss(shift, batch)`` is the loss of one batch with the layer's output shifted, ``W @ x + shift.columns(x)`` or
    ``x @ K + shift.rows(x)``; then
        G V = d/dA sum_i loss(A V^T, batch_i) at A = 0,   G^T U = d/dB sum_i loss(U B^T, batch_i) at B = 0.
    G is the gradient through the shifted output only: other uses of W, such as an L2 penalty, do not contribute.
    ``batches`` is a tree of arrays whose leading axis runs over the batches, taken one at a time. Losses are *summed*
    over the batches: for a mean over all samples, divide the sum over a batch by the number of all samples. The weights
    may have any dtype. The blocks have ``dtype``, a float of at least 32 bits, and so has the shift, unless the inputs
    are more precise; with half-precision weights, cast the shift's product to the dtype of W x. Pass the weights of a
    large layer to jit as an argument, since a compiled function contains a copy of the arrays that it closes over.

    Raises:
        ValueError: batches or a loss that ``batches.check_batches`` refuses.
    """
    check_batches(loss, Shift(jnp.zeros((shape[0], 1), dtype), jnp.zeros((shape[1], 1), dtype)), batches)

    def total(gradient: Callable[[Any], Matrix], zeros: Matrix) -> Matrix:
        return lax.scan(lambda summed, batch: (summed + gradient(batch), None), zeros, batches)[0]

    def forward(V: Matrix) -> Matrix:
        zeros = jnp.zeros((shape[0], V.shape[1]), V.dtype)
        return total(lambda batch: jax.grad(lambda A: loss(Shift(A, V), batch))(zeros), zeros)

    def adjoint(U: Matrix) -> Matrix:
        zeros = jnp.zeros((shape[1], U.shape[1]), U.dtype)
        return total(lambda batch: jax.grad(lambda B: loss(Shift(U, B), batch))(zeros), zeros)

    return Products(forward, adjoint, shape, dtype)


def kernel_gradient_products(
    loss: Callable[[PyTree, Any], Scalar],
    variables: PyTree,
    path: str,
    batches: PyTree,
    dtype: DTypeLike | None = None,
    *,
    route: str = "parameter",
) -> Products:
    """Products with G (in, out) = d/dK sum_i loss(variables with the kernel K, batch_i) at ``path`` of a Flax network.

    ``loss(variables, batch)`` calls the network's ``apply``; ``path`` is "layer_1" or "block/Dense_0", and
    ``batches`` and sums are as in ``gradient_products``. The products have ``dtype``, by default that of the kernel,
    and at least float32. The route "parameter" needs no Flax: any nested dictionaries {"params": {...}} with a kernel
    at ``path`` do.

    With the route "parameter" G is the derivative in the kernel itself. It is correct for every layer with a kernel and
    for every use of it: wrappers, user-defined classes, shared layers, ``nn.scan``, ``nn.remat``, jit inside the loss.
    It includes an L2 penalty on the kernel in the loss. G is computed here, once, in one pass over the data, and kept;
    the sum over several batches needs a second array of its size. Its rounding errors are those of the network's own
    dtypes, which certificates do not include.

    "matrix_free" forms no array of the layer's size and passes over the data once for each block. It requires a plain
    ``nn.Dense``, x K + b in the kernel's dtype: no subclass, no ``dot_general``, and K multiplied in the layer's calls
    and used nowhere else. The jaxpr of the loss for a batch is checked for this, under jit too. Outside jit one product
    is also compared with the other route on the first batch, in the direction sin(1^2), sin(2^2), ..., sin(n^2); this
    check forms one array of the layer's size and releases it.

    Raises:
        ValueError: variables that are not those of a linen network, or boxed; no real kernel with two axes at this
            path; batches or a loss that ``batches.check_batches`` refuses; an unknown route; for "matrix_free", a layer
            that is not plain, or routes that disagree.
        ImportError: flax is not installed, for "matrix_free".

    Warns:
        UserWarning: outside jit, G of the route "parameter" is 0, too small for its dtype, or not finite.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> def loss(variables, batch):
        ...     return jnp.sum(jnp.tanh(batch @ variables["params"]["first"]["kernel"]) ** 2)
        >>> variables = {"params": {"first": {"kernel": jnp.full((5, 4), 0.1)}}}
        >>> batches = jax.random.normal(jax.random.key(0), (2, 30, 5))  # two batches of thirty
        >>> products = lawlib.kernel_gradient_products(loss, variables, "first", batches)
        >>> lawlib.block_krylov_svd(jax.random.key(1), products, k=1).svd.right.shape
        (4, 1)
    """
    kernel, dtype = _checked(variables, path, dtype, route)
    jaxpr = trace_of_a_batch(loss, variables, batches)
    if route == "parameter":
        G = _gradient(loss, variables, path, batches, dtype)
        _warn_of(G, float_dtypes(jaxpr) | {kernel.dtype, G.dtype}, path)
        return matrix_products(G)
    check_plain(loss, variables, path, batches, jaxpr)
    m, n = kernel.shape
    products = gradient_products(shifted(loss, variables, path), batches, (m, n), dtype)
    _check_a_product(loss, variables, path, batches, dtype)
    return products


def check_variables(variables: PyTree) -> None:
    """Check that these are the variables of a Flax linen network, as plain arrays.

    Raises:
        ValueError: an NNX model or state, a tree without the collection 'params', or variables in boxes.
    """
    if type(variables).__module__.startswith("flax.nnx"):
        msg = (
            f"variables must be those of a Flax linen network, {{'params': ...}}, got {type(variables).__name__} of "
            f"NNX: pass the gradient from nnx.grad to spectra.matrix_products"
        )
        raise ValueError(msg)
    if not isinstance(variables, Mapping) or "params" not in variables:
        msg = "variables must hold the collection 'params', as network.init returns them"
        raise ValueError(msg)
    leaves = jax.tree.leaves_with_path(variables["params"], is_leaf=_is_box)
    if boxed := [_name(at) for at, held in leaves if _is_box(held)]:
        msg = f"variables must be arrays, but {boxed} are boxed: use flax.linen.meta.unbox(variables)"
        raise ValueError(msg)


def _is_box(held: Any) -> bool:
    """Whether it is a ``nn.Partitioned`` or another box of Flax; without Flax there are none."""
    meta = sys.modules.get("flax.core.meta")
    return meta is not None and isinstance(held, meta.AxisMetadata)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _checked(variables: PyTree, path: str, dtype: DTypeLike | None, route: str) -> tuple[Array, DTypeLike]:
    """The kernel at the path, and the dtype of the products."""
    if route not in ROUTES:
        msg = f"route must be one of {ROUTES}, got {route!r}"
        raise ValueError(msg)
    check_variables(variables)
    node = variables["params"]
    for name in path.split("/"):
        if not isinstance(node, Mapping) or name not in node:
            among = sorted(node) if isinstance(node, Mapping) else "none, since a layer has no layers"
            msg = f"no layer {path!r} in the variables['params']: {name!r} is not among {among}"
            raise ValueError(msg)
        node = node[name]
    if not isinstance(node, Mapping) and path.endswith("/kernel"):
        msg = f"path must name a layer, not its kernel: {path.removesuffix('/kernel')!r}, got {path!r}"
        raise ValueError(msg)
    if not isinstance(node, Mapping) or "kernel" not in node or jnp.ndim(node["kernel"]) != 2:
        msg = (
            f"the layer {path!r} needs a kernel with two axes, it holds {jax.tree.map(jnp.shape, node)}; for a stack "
            f"of kernels, as in nn.scan and nn.vmap, or a convolution, pass the matrix of interest from jax.grad to "
            f"spectra.matrix_products"
        )
        raise ValueError(msg)
    kernel = node["kernel"]
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        msg = f"the kernel of the layer {path!r} must have a real floating dtype, got {kernel.dtype}"
        raise ValueError(msg)
    wide = kernel.dtype if jnp.finfo(kernel.dtype).bits >= 32 else jnp.float32
    return kernel, wide if dtype is None else dtype


# In the parameter itself. ---------------------------------------------------------------------------------------------


def _gradient(loss: Callable, variables: PyTree, path: str, batches: PyTree, dtype: DTypeLike) -> Matrix:
    """G (in, out), summed in the dtype of the products."""
    kernel, with_kernel = _parted(variables, path)

    def of_kernel(kernel: Matrix, batch: Any) -> Scalar:
        return loss(with_kernel(kernel), batch)

    def add(summed: Matrix, batch: Any) -> tuple[Matrix, None]:
        return summed + jax.grad(of_kernel)(kernel, batch).astype(dtype), None

    return lax.scan(add, jnp.zeros(kernel.shape, dtype), batches)[0]


def _parted(variables: PyTree, path: str) -> tuple[Matrix, Callable[[Matrix], PyTree]]:
    """The kernel at the path, and the variables as a function of it."""
    leaves, tree = jax.tree.flatten(variables)
    at = leaf_index(variables, f"params/{path}/kernel")
    return leaves[at], lambda kernel: tree.unflatten([*leaves[:at], kernel, *leaves[at + 1 :]])


def _warn_of(G: Matrix, dtypes: set[Any], path: str) -> None:
    """Warn of a gradient that under- or overflows; under jit its values are unknown, and it is not certified."""
    if isinstance(G, Tracer):
        return
    largest, coarsest = float(jnp.max(jnp.abs(G))), max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).tiny))
    tiny = float(jnp.finfo(coarsest).tiny)
    if not largest >= tiny or largest == float("inf"):
        msg = (
            f"the largest entry of the gradient in the kernel of {path!r} is {largest:g}, where {coarsest} resolves "
            f"{tiny:.1g}: scale the loss, use wider dtypes, or check whether the loss depends on this layer"
        )
        warnings.warn(msg, stacklevel=3)


# Matrix-free, for a plain product.
# -------------------------------------------------------------------------------------


def _check_a_product(loss: Callable, variables: PyTree, path: str, batches: PyTree, dtype: DTypeLike) -> None:
    """Raise ValueError if the two routes differ on the first batch; traced values are not checked."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((variables, batches))):
        return
    first = jax.tree.map(lambda x: x[:1], batches)
    G = _gradient(loss, variables, path, first, dtype)
    m, n = G.shape
    v = jnp.sin(jnp.arange(1, n + 1, dtype=dtype) ** 2)[:, None]
    ours = gradient_products(shifted(loss, variables, path), first, (m, n), dtype).forward(v)
    wanted = matmul(G, v)
    off, size = (jnp.linalg.norm(x) for x in (ours - wanted, wanted))
    if isinstance(off, Tracer) or off <= AGREEMENT * size:
        return
    # At a minimum G consists of rounding errors, and may be off by the effect of rounding the kernel.
    kernel, with_kernel = _parted(variables, path)
    eps = jnp.finfo(dtype).eps * jnp.sign(jnp.sin(jnp.arange(1, kernel.size + 1, dtype=dtype))).reshape(m, n)
    rounded = kernel + (kernel * eps).astype(kernel.dtype)
    change = jnp.linalg.norm(matmul(_gradient(loss, with_kernel(rounded), path, first, dtype), v) - wanted)
    if off <= AGREEMENT * size + MARGIN * change:
        return
    msg = (
        f"the two routes to the gradient of the layer {path!r} disagree on the first batch, by {off:g} of {size:g} in "
        f"one product: the layer is not a plain product x K + b, or values are lost in their dtype; {MEND}"
    )
    raise ValueError(msg)
