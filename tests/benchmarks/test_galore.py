"""The GaLore benchmark on matrices whose decomposition is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import galore


def test_a_refresh_is_measured_against_the_decomposition():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((24, 24)))[0] for _ in range(2))
    G = jnp.asarray(left * 0.5 ** np.arange(24) @ right.T, jnp.float32)
    measured = galore._refreshes(G, G, ranks=(2,), repeats=1)
    assert measured["24 wide, rank 2: next value over the last"] == pytest.approx(0.5, rel=1e-3)
    for name in galore.SETTINGS:
        for start in ("cold", "warm"):
            row = {
                what: measured[f"24 wide, rank 2, {name}, {start}: {what}"] for what in ("error", "bound", "captured")
            }
            assert row["error"] <= row["bound"] + 1e-5
            assert row["captured"] == pytest.approx(1, abs=1e-4)


def test_the_state_of_a_projected_layer_is_counted():
    with jax.numpy_dtype_promotion("standard"):  # optax mixes types
        measured = galore._memory(24, 2)
    # Adam keeps two matrices of the layer's size; GaLore two of 2 x 24 and the projector.
    assert measured["24 wide, rank 2, adam: state_mib"] == pytest.approx((2 * 24 * 24 * 4 + 4) / 2**20, rel=0.01)
    assert measured["24 wide, rank 2, ours: state_mib"] < 0.3 * measured["24 wide, rank 2, adam: state_mib"]
