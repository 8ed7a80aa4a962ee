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
    # The identity of the coordinates pads or cuts: the fourth direction of C is 0 in B.
    forth, back = W @ B / eps - C[:, :3], W.T @ C / eps - np.pad(B, ((0, 0), (0, 1)))
    expected = [
        max(np.linalg.norm(forth), np.linalg.norm(back)),
        np.linalg.norm(last - last @ C @ C.T) / np.linalg.norm(last),
        np.linalg.norm(square.T @ square / eps**2 - np.eye(7)),
        np.linalg.norm(C.T @ C - np.eye(4)),
        np.linalg.norm(last) / np.linalg.norm(square),
    ]
    found = [
        *defects.wide_layer_parts(as_jax((W, last)), as_jax((B, C)), jnp.asarray(eps)).values(),
        *defects.square_layer_parts(as_jax((square,)), jnp.asarray(eps)).values(),
        *defects.basis_parts(as_jax((C,))).values(),
        *defects.target_parts(jnp.asarray(last), jnp.asarray(square), 2).values(),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
