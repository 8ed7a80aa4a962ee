"""The convolution and its derivatives, beside scipy's correlations and differences; the form of what is compiled."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads
from scipy.signal import correlate

from lawlib.networks.convolution import same_convolution

SIZES = [((2, 7, 6, 3), (3, 3, 5)), ((1, 4, 5, 1), (1, 3, 2)), ((3, 5, 5, 2), (2, 4, 1))]


def drawn(dtype, images, kernel):
    rng = np.random.default_rng(sum(images))
    shapes = images, (*kernel[:2], images[3], kernel[2])
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


def by_hand(images, kernel):
    """Correlations of single planes over images with zeros around them, in float64."""
    images, kernel = (np.asarray(a, np.float64) for a in (images, kernel))
    before = [(size - 1) // 2 for size in kernel.shape[:2]]
    around = [(0, 0), *((b, n - 1 - b) for b, n in zip(before, kernel.shape[:2], strict=True)), (0, 0)]
    padded = np.pad(images, around)
    rows = [
        [
            sum(correlate(image[..., c], kernel[..., c, o], "valid") for c in range(kernel.shape[2]))
            for o in range(kernel.shape[3])
        ]
        for image in padded
    ]
    return np.moveaxis(np.asarray(rows), 1, -1)


@pytest.mark.parametrize(("images", "kernel"), SIZES)
def test_it_is_a_sum_of_correlations(images, kernel, dtype, tol):
    x, k = drawn(dtype, images, kernel)
    out = same_convolution(x, k)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, by_hand(x, k), atol=tol(k))


@pytest.mark.parametrize(("images", "kernel"), SIZES)
def test_derivatives_of_all_orders_are_differences(images, kernel):
    with jax.enable_x64(True):
        function = jax.jit(lambda x, k: jnp.sin(same_convolution(x, k)))
        # It raises AssertionError where they are not.
        check_grads(function, drawn("float64", images, kernel), 2, atol=1e-6)


@pytest.mark.parametrize(("images", "kernel"), SIZES)
def test_gradients_are_adjoints(images, kernel, dtype, tol):
    x, k = drawn(dtype, images, kernel)
    out, pull = jax.vjp(same_convolution, x, k)
    g = jnp.asarray(np.random.default_rng(1).standard_normal(out.shape), dtype)
    for given, back in zip((x, k), pull(g), strict=True):
        rest = jnp.asarray(np.random.default_rng(2).standard_normal(given.shape), dtype)
        moved = by_hand(rest, k) if given is x else by_hand(x, rest)
        assert np.vdot(g, moved) == pytest.approx(float(jnp.vdot(back, rest)), abs=tol(out, 100 * out.size))


def test_members_are_convolved_each_with_its_own(dtype, tol):
    rng = np.random.default_rng(0)
    x, k = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((2, 2, 4, 5, 2), (2, 3, 3, 2, 2)))

    def gradient(x, k):
        return jax.grad(lambda k: jnp.sum(jnp.square(same_convolution(x, k))))(k)

    alone = jnp.stack([gradient(*member) for member in zip(x, k, strict=True)])
    np.testing.assert_allclose(jax.vmap(gradient)(x, k), alone, atol=tol(x) * float(jnp.abs(alone).max()))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the form that is fast is that of the CPU's library")
def test_gradients_inside_loops_have_the_form_that_is_fast():
    x, k = drawn("float32", (2, 8, 8, 3), (3, 3, 4))

    def trained(k):
        def step(k, _):
            dx, dk = jax.grad(lambda x, k: jnp.sum(jnp.square(same_convolution(x, k))), argnums=(0, 1))(x, k)
            return k - dk * jnp.sum(dx), None

        return lax.scan(step, k, length=3)[0]

    text = jax.jit(trained).lower(k).compile().as_text()
    forms = re.findall(r"dim_labels=(\S+?)[,\s]", text)
    assert len(forms) == 3  # the convolution and its two transposes
    assert set(forms) == {"b01f_01io->b01f"}
