"""A convolution whose gradients stay fast inside loops on a CPU.

XLA's CPU library has fast convolutions in one layout only: batch first, channels last, kernels (h, w, in, out). Outside
of loops the compiler converts other layouts to this one. Inside a loop, such as the body of ``lax.scan``, it does not
(https://github.com/jax-ml/jax/issues/12868), and they take more than ten times as long. The derivatives that JAX
defines have other layouts. The derivatives here are written so that their transposes, which a gradient runs, have the
fast layout.
"""

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.types import Array, Float

__all__ = ["same_convolution"]

FAST = ("NHWC", "HWIO", "NHWC")


@jax.custom_jvp
def same_convolution(images: Float[Array, "N H W C"], kernel: Float[Array, "h w C O"]) -> Float[Array, "N H W O"]:
    """Correlate images with a kernel, with zero padding and stride one: the output has their height and width.

        out[n, i, j, o] = sum_{a, b, c} images[n, i + a - (h-1)//2, j + b - (w-1)//2, c] kernel[a, b, c, o]

    It has derivatives of every order, forward and reverse; the first reverse one is fast. Forward derivatives, and
    derivatives of these, are slower in a loop on a CPU than those of ``lax.conv_general_dilated``. Other devices run
    JAX's own convolutions.
    """
    return _plain(images, kernel)


@same_convolution.defjvp
def _derivative(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (images, kernel), (d_images, d_kernel) = primals, tangents
    along_images = lax.platform_dependent(d_images, kernel, cpu=_linear_in_images, default=_plain)
    along_kernel = lax.platform_dependent(images, d_kernel, cpu=_linear_in_kernel, default=_plain)
    return same_convolution(images, kernel), along_images + along_kernel


def _plain(images: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=FAST)


def _linear_in_images(images: Array, kernel: Array) -> Array:
    """The same result in a layout whose transpose in the images is fast: it exchanges I and O."""
    form = ("NHWC", "HWOI", "NHWC")
    return lax.conv_general_dilated(images, jnp.swapaxes(kernel, 2, 3), (1, 1), "SAME", dimension_numbers=form)


def _linear_in_kernel(images: Array, kernel: Array) -> Array:
    """The same result in a layout whose transpose in the kernel is fast: channels become the batch."""
    form = ("CHWN", "IHWO", "HWNC")
    channels, kernels = jnp.transpose(images, (3, 1, 2, 0)), jnp.transpose(kernel, (2, 0, 1, 3))
    out = lax.conv_general_dilated(channels, kernels, (1, 1), "SAME", dimension_numbers=form)
    return jnp.transpose(out, (2, 0, 1, 3))
