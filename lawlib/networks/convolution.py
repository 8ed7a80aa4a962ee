"""A convolution whose gradients stay fast inside loops on a CPU.

XLA's CPU library takes convolutions in one form: batch first, channels last, kernels (h, w, in, out). Outside of loops
its compiler brings others into it; inside, and the body of ``lax.scan`` is one, it leaves them as they are
(https://github.com/jax-ml/jax/issues/12868), and they run more than ten times as long. The derivatives that JAX knows
have other forms. Those here are written so that their transposes, which are what a gradient runs, have the form that is
fast.
"""

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.types import Array, Float

__all__ = ["same_convolution"]

FAST = ("NHWC", "HWIO", "NHWC")


@jax.custom_jvp
def same_convolution(images: Float[Array, "N H W C"], kernel: Float[Array, "h w C O"]) -> Float[Array, "N H W O"]:
    """Correlate images with a kernel, zeros around them, step one: the output has their height and width.

        out[n, i, j, o] = sum_{a, b, c} images[n, i + a - (h-1)//2, j + b - (w-1)//2, c] kernel[a, b, c, o]

    It has derivatives of every order, forward and backward; the first, backward, is the one that is made fast.
    Tangents, and what is differentiated through them, are slower in a loop on a CPU than those of
    ``lax.conv_general_dilated``. Other devices run JAX's own convolutions.
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
    """The same numbers, whose transpose in the images is fast: it exchanges I and O."""
    form = ("NHWC", "HWOI", "NHWC")
    return lax.conv_general_dilated(images, jnp.swapaxes(kernel, 2, 3), (1, 1), "SAME", dimension_numbers=form)


def _linear_in_kernel(images: Array, kernel: Array) -> Array:
    """The same numbers, whose transpose in the kernel is fast: channels are its batch, images its channels."""
    form = ("CHWN", "IHWO", "HWNC")
    channels, kernels = jnp.transpose(images, (3, 1, 2, 0)), jnp.transpose(kernel, (2, 0, 1, 3))
    out = lax.conv_general_dilated(channels, kernels, (1, 1), "SAME", dimension_numbers=form)
    return jnp.transpose(out, (2, 0, 1, 3))
