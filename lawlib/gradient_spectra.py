"""Products with the gradient of a loss in one layer's weight, without the gradient, for any network and loss.

The weight's shape times a few bytes is what a gradient takes; its products with b columns take (m + n) b. They are
derivatives too: of the loss in the factors of a low-rank shift of the weight, which the layer applies as two thin
products. The weight itself is never differentiated, changed or copied.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from lawlib.spectra import Products
from lawlib.types import Array, Float, Matrix, PyTree, Scalar

__all__ = ["Shift", "at_flax_layer", "gradient_products", "kernel_gradient_products"]


class Shift(NamedTuple):
    """The matrix M = left right^T (m, n) to be added to a weight of this shape, as left (m, b) and right (n, b)."""

    left: Float[Array, "m b"]
    right: Float[Array, "n b"]

    def columns(self, x: Float[Array, "n N"]) -> Float[Array, "m N"]:
        """The product M x for samples in columns, what the shift adds to W x; in the dtype of x."""
        thin = jnp.matmul(self.right.T, x.astype(self.right.dtype), precision="highest")
        return jnp.matmul(self.left, thin, precision="highest").astype(x.dtype)

    def rows(self, x: Float[Array, "*N m"]) -> Float[Array, "*N n"]:
        """The product x M for samples in rows, what the shift adds to x K for a Flax kernel K; in the dtype of x."""
        thin = jnp.matmul(x.astype(self.left.dtype), self.left, precision="highest")
        return jnp.matmul(thin, self.right.T, precision="highest").astype(x.dtype)


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
    ``batches`` is a tree of arrays whose leading axis runs over the batches, taken one at a time. Losses are *summed*
    over the batches: for a mean over all samples, the loss of a batch is its sum divided by the number of all. The
    weights may have any dtype; the blocks have ``dtype``, a float of at least 32 bits. Pass the weights of a large
    layer to jit as an argument, since what a compiled function closes over is copied into it.
    """

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
    dtype: DTypeLike = jnp.float32,
) -> Products:
    """Products with the gradient G (in, out) in the kernel of the ``nn.Dense`` at ``path`` of any Flax network.

    ``loss(variables, batch)`` calls the network's ``apply`` as it stands: the layer is found as it runs
    (``at_flax_layer``). ``path`` is "layer_1" or "block/Dense_0"; ``batches`` and sums as in ``gradient_products``.
    G is the gradient through what the layer puts out: a term of the loss that takes the kernel itself, such as an L2
    penalty, is no part of it.

    Raises:
        ValueError: the variables hold no kernel at this path; later, the network runs no ``nn.Dense`` there.
    """
    node = variables
    for name in ("params", *path.split("/")):
        if not isinstance(node, Mapping) or name not in node:
            among = sorted(node) if isinstance(node, Mapping) else "none, since a layer has no layers"
            msg = f"no layer {path!r} in the variables: {name!r} is not among {among}"
            raise ValueError(msg)
        node = node[name]
    if not isinstance(node, Mapping) or "kernel" not in node or node["kernel"].ndim != 2:
        msg = f"the layer {path!r} needs a kernel with two axes, it holds {jax.tree.map(jnp.shape, node)}"
        raise ValueError(msg)
    shifted = at_flax_layer(lambda batch: loss(variables, batch), path)
    return gradient_products(shifted, batches, node["kernel"].shape, dtype)


def at_flax_layer(loss: Callable[[Any], Scalar], path: str) -> Callable[[Shift, Any], Scalar]:
    """From ``loss(batch)``, which applies a Flax network, a loss(shift, batch): x K becomes x (K + M) at ``path``.

    The output of each call of the ``nn.Dense`` at that path gets ``shift.rows(x)`` added, in its own dtype. A layer
    inside ``nn.scan``, ``nn.vmap`` or ``nn.remat`` has weights or a trace of its own and is not supported.

    Raises:
        ValueError: when called, the network runs no ``nn.Dense`` at this path.
    """

    def shifted(shift: Shift, batch: Any) -> Scalar:
        met = set()

        def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
            output = call(*args, **kwargs)
            if not isinstance(context.module, nn.Dense) or context.method_name != "__call__":
                return output
            met.add("/".join(context.module.path))
            x = args[0] if args else kwargs["inputs"]
            return output + shift.rows(x).astype(output.dtype) if "/".join(context.module.path) == path else output

        with nn.intercept_methods(intercept):
            value = loss(batch)
        if path not in met:
            hidden = "a loss inside jax.jit or jax.checkpoint hides them"
            msg = f"the network runs no nn.Dense at {path!r}; it runs {sorted(met)} ({hidden})"
            raise ValueError(msg)
        return value

    return shifted
