"""By which axes a program multiplies by its input, however that is wrapped."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from lawlib.linalg.kernel_uses import as_used, float_dtypes
from lawlib.linalg.matricization import Matricization

X = jnp.ones((6, 4))
IMAGES = jnp.ones((2, 5, 5, 4))
MASK = jnp.ones((4, 5))


def image(spec, groups=1):
    def run(kernel):
        return lax.conv_general_dilated(IMAGES, kernel, (1, 1), "SAME", None, None, spec, groups)

    return run


USES = {
    "rows": (lambda W: X @ W, (4, 5), Matricization(0, 1)),
    "columns": (lambda W: W @ X.T, (5, 4), Matricization(1, 0)),
    "transposed": (lambda W: X @ W.T, (5, 4), Matricization(1, 0)),
    "vmapped": (lambda W: jax.vmap(lambda x: W @ x)(X), (5, 4), Matricization(1, 0)),
    "twice": (lambda W: (X @ W, jnp.ones((2, 4)) @ W), (4, 5), Matricization(0, 1)),
    "heads": (lambda W: jnp.einsum("nd,hdk->nhk", X, W), (2, 4, 3), Matricization(1, (0, 2))),
    "back": (lambda W: jnp.einsum("nhk,hkd->nd", X.reshape(6, 2, 2), W), (2, 2, 3), Matricization((0, 1), 2)),
    "masked": (lambda W: X @ jnp.where(MASK > 0, W, 0.0), (4, 5), Matricization(0, 1)),
    "normed": (lambda W: X @ (W.T / jnp.sqrt(jnp.sum(W**2))), (5, 4), Matricization(1, 0)),
    "in a jit": (lambda W: jax.jit(lambda W: W.T * 2)(W) @ X.T, (4, 5), Matricization(0, 1)),
    "in a checkpoint": (jax.checkpoint(lambda W: X @ W), (4, 5), Matricization(0, 1)),
    "in a scan": (lambda W: lax.scan(lambda s, x: (s, x @ W), 0.0, X[None])[1], (4, 5), Matricization(0, 1)),
    "in a cond": (lambda W: lax.cond(X[0, 0] > 0, lambda W: X @ W, lambda W: 2 * (X @ W), W), (4, 5), Matricization()),
    "a stack in a scan": (lambda W: lax.scan(lambda s, W: (s @ W, None), X, W)[0], (3, 4, 4), Matricization(1, 2)),
    "an ensemble": (lambda W: jax.vmap(lambda W, x: W @ x)(W, IMAGES[0, :3, 0]), (3, 5, 4), Matricization(2, 1)),
    # Layers with the same inputs are one layer with the outputs of all.
    "parallel layers": (lambda W: jax.vmap(lambda W: W @ X.T)(W), (3, 5, 4), Matricization(2, (0, 1))),
    "image": (image(("NHWC", "HWIO", "NHWC")), (3, 2, 4, 8), Matricization((0, 1, 2), 3)),
    "image, outputs first": (image(("NHWC", "OIHW", "NHWC")), (8, 4, 3, 2), Matricization((2, 3, 1), 0)),
    "groups": (image(("NHWC", "HWIO", "NHWC"), 2), (3, 2, 2, 8), Matricization((0, 1, 2), 3)),
    "both ways": (lambda W: X @ W @ W.T, (4, 5), None),
    "never": (lambda W: jnp.sum(W**2), (4, 5), None),
    "added": (lambda W: X + W, (6, 4), None),
    "hidden": (lambda W: lax.while_loop(lambda s: s[0, 0] < 9, lambda s: s @ W, jnp.ones((4, 4))), (4, 4), None),
}


@pytest.mark.parametrize("case", USES)
def test_the_axes_of_products_are_found(case):
    program, shape, wanted = USES[case]
    assert as_used(jax.make_jaxpr(program)(jnp.ones(shape)).jaxpr, 0) == wanted


def test_dtypes_are_those_of_inner_programs_too():
    program = jax.jit(lambda x: jax.jit(lambda x: x.astype("float16"))(x).astype("float64").astype("int32"))
    assert float_dtypes(jax.make_jaxpr(program)(X).jaxpr) == {jnp.dtype("float16"), jnp.dtype("float64")}
