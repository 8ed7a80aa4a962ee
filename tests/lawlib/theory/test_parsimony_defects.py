"""Each part of the defect of a small equivalent network is its formula in numpy."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np

from lawlib.theory import parsimony_defects as defects


def test_each_part_of_the_defect_is_its_formula():
    rng = np.random.default_rng(0)
    W, B, C = rng.standard_normal((9, 7)), rng.standard_normal((7, 3)), rng.standard_normal((9, 4))
    last, square, eps = rng.standard_normal((2, 9)), rng.standard_normal((7, 7)), 0.7
    as_jax = ft.partial(jax.tree.map, jnp.asarray)
    # Case 2 with a core that is no identity, Case 1 with a square layer, and with one that is not square.
    core, U = rng.standard_normal((4, 3)), rng.standard_normal((7, 2))
    forth, back = W @ B / eps - C @ core, W.T @ C / eps - B @ core.T
    expected = [
        max(np.linalg.norm(forth), np.linalg.norm(back)),
        np.linalg.norm(last - last @ C @ C.T) / np.linalg.norm(last),
        np.linalg.norm(square.T @ square / eps**2 - np.eye(7)),
        max(np.linalg.norm(forth), np.linalg.norm(back), np.linalg.norm(W.T @ W / eps**2 - np.eye(7))),
        np.linalg.norm(20 * W.T @ W * 20 / eps**2 - np.eye(7)),
        np.linalg.norm(C.T @ C - np.eye(4)),
        np.linalg.norm(last) / np.linalg.norm(square),
    ]
    cores, scale = as_jax((core,)), jnp.asarray(eps)
    found = [
        *defects.layer_parts(as_jax((W, last)), as_jax((B, C)), cores, scale).values(),
        *defects.layer_parts(as_jax((square,)), as_jax((U, B)), (), scale).values(),
        *defects.layer_parts(as_jax((W,)), as_jax((B, C)), cores, scale).values(),
        *defects.layer_parts(as_jax((20 * W.T,)), as_jax((C, B)), as_jax((core.T,)), scale).values(),
        *defects.basis_parts(as_jax((C,))).values(),
        *defects.target_parts(jnp.asarray(last), jnp.asarray(square), 2).values(),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
