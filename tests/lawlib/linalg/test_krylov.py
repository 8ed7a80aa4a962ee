"""The triplets of several matrices that share their passes, against numpy's and against those of each one alone."""

import inspect

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.linalg.spectra import JointProducts, block_krylov_svd, joint_block_krylov_svd, matrix_products

K, OPTIONS = 2, {"oversample": 2, "tolerance": 1e-2, "max_passes": 6}
# Spectra of which the first two need two pairs of passes, and the last more than the three that are allowed. The last
# shape has a block of its whole smaller side, which needs one.
STEEP, GENTLE, FLAT = (1e-3, 0.3, 0.97)
# Shapes, stacks of them, and the ratio of their third singular value to the second.
MATRICES = {
    "steep": ((18, 14), STEEP),
    "stack": ((3, 14, 18), (STEEP, FLAT, GENTLE)),
    "wide": ((14, 18), GENTLE),
    "small": ((9, 5), GENTLE),
}


def matrix(rng, shape, drop):
    """Of singular values 2, 1, drop, drop^2, ..."""
    m, n = shape
    U, V = (np.linalg.qr(rng.standard_normal((d, min(m, n))))[0] for d in (m, n))
    return (U * np.concatenate([[2.0, 1.0], drop ** (1 + np.arange(min(m, n) - 2) / 4)])) @ V.T


@pytest.fixture
def matrices(dtype):
    rng = np.random.default_rng(0)
    found = {}
    for name, ((*stack, m, n), drop) in MATRICES.items():
        each = [matrix(rng, (m, n), one) for one in (drop if stack else (drop,))]
        found[name] = jnp.asarray(each if stack else each[0], dtype)
    return found


def joint(matrices, log=None):
    """Their products, and in ``log`` the names of the matrices in each call."""

    def apply(right, left):
        if log is not None:
            log.append((set(right), set(left)))
        forward = {name: matrices[name] @ V for name, V in right.items()}
        return forward | {name: jnp.swapaxes(matrices[name], -1, -2) @ U for name, U in left.items()}

    shapes = {name: G.shape for name, G in matrices.items()}
    return JointProducts(apply, shapes, {name: G.dtype for name, G in matrices.items()})


def keys_of(products):
    keys = {name: jax.random.fold_in(jax.random.key(0), i) for i, name in enumerate(products.shapes)}
    return {
        name: jax.random.split(keys[name], shape[0]) if len(shape) > 2 else keys[name]
        for name, shape in products.shapes.items()
    }


def test_the_triplets_of_all_matrices_at_once_are_those_of_each_alone(matrices, dtype):
    products = joint(matrices)
    keys = keys_of(products)
    together = jax.jit(lambda: joint_block_krylov_svd(keys, products, K, **OPTIONS))()
    alone = jax.jit(lambda key, G: block_krylov_svd(key, matrix_products(G), K, **OPTIONS))
    assert set(together) == set(matrices)
    passes = set()
    for name, G in matrices.items():
        stacked = together[name] if G.ndim > 2 else jax.tree.map(lambda x: x[None], together[name])
        for i, (key, one) in enumerate(zip(keys[name].reshape(-1), G.reshape(-1, *G.shape[-2:]), strict=True)):
            # The same key gives the transpose the same columns, and all of one shape one program.
            wide = one.shape[0] < one.shape[1]
            ours, theirs = jax.tree.map(lambda x, i=i: x[i], stacked), alone(key, one.T if wide else one)
            passes.add(int(ours.passes))
            assert (ours.passes, ours.certified, ours.dense) == (theirs.passes, theirs.certified, False)
            size = 1000 * float(jnp.finfo(dtype).eps)
            # Vectors are determined up to the rounding errors over the gaps between the values, and their signs.
            sides = ours.svd.left, ours.svd.right
            others = (theirs.svd.right, theirs.svd.left) if wide else (theirs.svd.left, theirs.svd.right)
            for own, other in zip(sides, others, strict=True):
                np.testing.assert_allclose(np.abs(np.sum(own * other, axis=0)), 1, rtol=size)
            np.testing.assert_allclose(ours.svd.values, theirs.svd.values, rtol=size)
            np.testing.assert_allclose(ours.bound, theirs.bound, rtol=0.01, atol=size)
            L, values, _ = np.linalg.svd(np.asarray(one, "float64"))
            left = np.asarray(ours.svd.left, "float64")
            off = np.linalg.norm(left - L[:, :K] @ (L[:, :K].T @ left))
            assert off <= min(float(ours.bound), 1.0)
            # The error of a value is of second order in that of its vectors; those of the flat spectrum are arbitrary.
            np.testing.assert_allclose(ours.svd.values, values[:K], rtol=1e-3 if ours.certified else 0.1)
    assert passes == {2, 4, 6}


def test_matrices_share_their_passes_and_those_with_smaller_sides_need_fewer():
    matrices = {"first": jnp.eye(12, 8), "wide": jnp.eye(8, 12), "small": jnp.eye(5, 5)}
    log = []
    products = joint(matrices, log)
    jax.eval_shape(lambda: joint_block_krylov_svd(keys_of(products), products, K, **OPTIONS))
    tall, both = {"first"}, {"first", "small"}
    assert log == [(both, {"wide"}), ({"wide"}, both), (tall, {"wide"}), ({"wide"}, tall)]


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from equations(inner)


def test_what_is_done_to_each_matrix_is_in_the_program_once_for_matrices_of_one_shape():
    def program(number):
        products = joint({str(i): jnp.eye(20, 30) if i % 2 else jnp.eye(30, 20) for i in range(number)})
        return jax.make_jaxpr(lambda: joint_block_krylov_svd(keys_of(products), products, K, **OPTIONS))()

    two, many = ([*equations(program(number).jaxpr)] for number in (2, 7))
    for name in ("qr", "svd", "cond"):
        assert two.count(name) == many.count(name) > 0


def test_matrices_without_keys_or_with_wrong_sizes_are_named_all_at_once():
    products = joint({"first": jnp.eye(4, 3), "second": jnp.eye(3, 5), "stack": jnp.zeros((2, 4, 4))})
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"each matrix needs a key, got none for \['second', 'stack'\]"):
        joint_block_krylov_svd({"first": key}, products, K)
    keys = {"first": jax.random.split(key, 2), "second": jax.random.PRNGKey(0), "stack": jax.random.PRNGKey(0)}
    with pytest.raises(ValueError, match=r"stack.* L keys: .*, got \{'first': \(2,\), 'second': \(\), 'stack': \(\)\}"):
        joint_block_krylov_svd(keys, products, K)
    message = (
        r"^k must be in 1\.\.3 for the matrix 'first' of shape \(4, 3\), got 4; k must be .* 'second' of shape "
        r"\(3, 5\), got 4; oversample must be a whole number of at least 1, got 0; tolerance must be finite and "
        r"above 0, got nan$"
    )
    with pytest.raises(ValueError, match=message):
        joint_block_krylov_svd(keys_of(products), products, 4, oversample=0, tolerance=np.nan)
    halves = joint({"half": jnp.eye(4, 3, dtype="bfloat16")})
    with pytest.raises(TypeError, match="float32 or float64, got bfloat16"):
        joint_block_krylov_svd(keys_of(halves), halves, K)
    with pytest.raises(TypeError, match="must be JointProducts, got Products"):
        inspect.unwrap(joint_block_krylov_svd)({}, matrix_products(jnp.eye(3)), K)
