"""Layers that are no squares: the scale of one, and the frames that Theorem 1 has for none."""

import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.theory import parsimony
from lawlib.theory.parsimony import invariant_frames


def test_frames_of_hidden_layers_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"hidden layers of the inputs' width, got shapes \[\(9, 6\), \(1, 9\)\]"):
        invariant_frames((jnp.eye(9, 6), jnp.eye(1, 9)), jnp.eye(1, 6), 1)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (5, 5)])
def test_the_scale_of_a_layer_is_that_of_its_orthonormal_rows_or_columns(shape):
    Q = np.linalg.qr(np.random.default_rng(12).standard_normal((max(shape), max(shape))))[0][: shape[0], : shape[1]]
    np.testing.assert_allclose(parsimony.layer_scale(jnp.asarray(0.3 * Q)), 0.3, rtol=1e-14)
