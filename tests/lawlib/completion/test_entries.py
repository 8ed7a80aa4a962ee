"""Observed entries and their layouts: every refusal by name, and the kernels against dense algebra and scipy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from lawlib.completion import layouts
from lawlib.completion.entries import (
    Entries,
    UnrecoverableWarning,
    from_coo,
    from_mask,
    from_nan,
    from_scipy,
    hold_out,
    relative_error,
)
from lawlib.completion.layouts import arrange, arrange_dense, arrange_sparse

ROWS, COLUMNS, VALUES = [0, 0, 1, 2], [0, 2, 1, 0], [1.0, -2.0, 3.0, 0.5]
value_and_gradients = jax.jit(jax.value_and_grad(layouts.sum_squared_error, argnums=(0, 1)))


@jax.jit
def kernels(A, B, layout):
    """All that a layout can do, as one program: compiling its loops is what takes time."""
    scaled = layouts.scaled(layout, jnp.asarray(0.5, A.dtype))
    gradients = jax.value_and_grad(layouts.sum_squared_error, argnums=(0, 1))(A, B, scaled)
    return gradients, layouts.multiply(scaled, B), layouts.multiply_transposed(scaled, A)


def assert_refused(error, message, rows=ROWS, columns=COLUMNS, values=VALUES, shape=(3, 3)):
    with pytest.raises(error, match=message):
        from_coo(rows, columns, values, shape)


def scattered(seed, shape, count, dtype="float64"):
    """Entries of very different degrees, with an empty row and an empty column, in no order."""
    rng = np.random.default_rng(seed)
    m, n = shape
    odds = np.outer(1 / np.arange(1, m), 1 / np.arange(1, n) ** 0.5).ravel()
    places = rng.choice(odds.size, count, replace=False, p=odds / odds.sum())
    rows, columns = np.divmod(places, n - 1)
    return Entries(rows.astype(np.int32), columns.astype(np.int32), rng.standard_normal(count).astype(dtype), shape)


def densely(entries):
    values, mask = np.zeros(entries.shape), np.zeros(entries.shape)
    values[entries.rows, entries.columns] = entries.values
    mask[entries.rows, entries.columns] = 1
    return values, mask


def factors_of(entries, q, dtype):
    rng = np.random.default_rng(5)
    return tuple(jnp.asarray(rng.standard_normal((size, q)), dtype) for size in entries.shape)


def test_what_is_refused_is_named():
    assert_refused(IndexError, r"rows must be in 0..2, got 3 at position 1", rows=[0, 3, 1, 2])
    assert_refused(IndexError, r"columns must be in 0..2, got -1 at position 3", columns=[0, 2, 1, -1])
    assert_refused(ValueError, r"NaN or infinity at \(row, column\) \(1, 1\)", values=[1.0, 2.0, np.nan, 1.0])
    assert_refused(ValueError, r"NaN or infinity", values=[1.0, 2.0, np.inf, 1.0])
    assert_refused(
        ValueError,
        r"must be given once, got \(row, column\) \(0, 2\) more than once",
        rows=[0, 0, 1, 0],
        columns=[0, 2, 1, 2],
    )
    assert_refused(ValueError, r"must be three sequences of one length", values=[1.0])
    assert_refused(ValueError, r"no observed entry", rows=[], columns=[], values=[])
    for shape in ((3, 0), (3, 2**31)):
        assert_refused(ValueError, r"two positive whole sizes below 2\^31", shape=shape)
    assert_refused(TypeError, r"from_mask\(matrix, ~mask\)", values=np.ma.masked_array(VALUES))
    assert_refused(TypeError, r"rows must be integers, got float64", rows=[0.0, 0.0, 1.0, 2.0])
    assert_refused(TypeError, r"real numbers, got complex128", values=[1j, 2, 3, 4])


def test_many_culprits_are_counted_not_listed():
    assert_refused(
        IndexError, r"got 9, 9, 9, 9, 9 and 2 others", rows=[9] * 7, columns=range(7), values=[1.0] * 7, shape=(3, 7)
    )


def test_an_empty_row_or_column_is_warned_of_by_its_index():
    with pytest.warns(UnrecoverableWarning, match="no observed entry.* in row 2"):
        from_coo([0, 1, 0], [0, 1, 2], [1.0, 1.0, 1.0], (3, 3))
    with pytest.warns(UnrecoverableWarning, match="no observed entry.* in column 0, 3"):
        from_coo([0, 1, 2], [1, 2, 1], [1.0, 1.0, 1.0], (3, 4))


def test_all_ways_in_agree():
    given_one = from_coo(ROWS, COLUMNS, VALUES, (3, 3))
    values, mask = densely(given_one)
    hidden = np.where(mask == 1, values, np.nan)
    for other in (
        from_scipy(scipy.sparse.csr_array((VALUES, (ROWS, COLUMNS)), (3, 3))),
        from_scipy(scipy.sparse.coo_matrix((VALUES, (ROWS, COLUMNS)), (3, 3))),
        from_mask(hidden, mask),
        from_mask(hidden, mask == 1),
        from_nan(hidden),
        from_nan(hidden.astype(np.float32)),
    ):
        np.testing.assert_array_equal(densely(other), (values, mask))
    assert given_one.density == pytest.approx(4 / 9)


def test_bad_masks_and_matrices_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        from_mask(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="other values"):
        from_mask(np.ones((2, 2)), np.full((2, 2), 0.5))
    with pytest.raises(TypeError, match="scipy sparse matrix is needed, got ndarray"):
        from_scipy(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (np.ones((3, 2)), ValueError, r"has no NaN, so that nothing in it is unknown.*from_mask\(matrix, mask\)"),
        (np.full((3, 2), np.nan), ValueError, "no entry of the 3 x 2 matrix is known: all are NaN"),
        (np.ones((3, 2), int), TypeError, r"marked by NaN in a matrix of floats, got int64.*matrix != 0"),
        (np.ones((3, 2), complex), TypeError, "got complex128"),
        (np.asarray([["a", None]], object), TypeError, "got object"),
        (np.asarray([[1.0, np.nan], [np.inf, 2.0]]), ValueError, r"must be finite, got NaN or infinity at .*\(1, 0\)"),
        (np.asarray([1.0, np.nan]), ValueError, r"two axes \(m, n\), got shape \(2,\)"),
        (np.ma.masked_invalid([[1.0, np.nan]]), TypeError, r"from_mask\(matrix.data, ~mask\)"),
    ],
)
def test_a_matrix_whose_unknown_entries_are_not_marked_by_nan_is_refused(matrix, error, message):
    with pytest.raises(error, match=message):
        from_nan(matrix)


def test_values_keep_their_precision():
    assert from_coo(ROWS, COLUMNS, np.float32(VALUES), (3, 3)).values.dtype == np.float32
    assert from_coo(ROWS, COLUMNS, [1, 2, 3, 4], (3, 3)).values.dtype == np.float64
    assert from_coo(ROWS, COLUMNS, [True, False, True, True], (3, 3)).values.dtype == np.float64
    assert from_coo(ROWS, COLUMNS, np.longdouble(VALUES), (3, 3)).values.dtype == np.float64
    assert from_coo(ROWS, COLUMNS, np.float16(VALUES), (3, 3)).values.dtype == np.float32


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), share=st.floats(0.0, 0.9))
def test_holding_out_splits_and_empties_nothing(seed, share):
    entries = scattered(seed, (12, 9), 60)
    kept, held = hold_out(jax.random.key(seed), entries, share, at_most=1000)
    together = [np.concatenate(pair) for pair in zip(kept[:3], held[:3], strict=True)]
    np.testing.assert_array_equal(densely(Entries(*together, entries.shape)), densely(entries))
    assert len(kept.values) + len(held.values) == 60
    for axis in (0, 1):
        assert set(kept[axis].tolist()) == set(entries[axis].tolist())


def test_the_share_held_out_is_the_share_asked_for():
    entries = scattered(0, (200, 200), 20_000)
    assert len(hold_out(jax.random.key(0), entries, 0.2, at_most=10**6)[1].values) == pytest.approx(4000, rel=0.05)
    assert len(hold_out(jax.random.key(0), entries, 0.2, at_most=1000)[1].values) == pytest.approx(1000, rel=0.1)
    with pytest.raises(ValueError, match=r"in \[0, 1\), got 1.0"):
        hold_out(jax.random.key(0), entries, 1.0, at_most=10)


def test_the_error_of_held_out_entries_has_the_spread_of_its_draws():
    # By hand: h^2 = 5/13, and both e^2 - h^2 Phi^2 are 7/13 in size.
    h = (5 / 13) ** 0.5
    np.testing.assert_allclose(relative_error(np.array([1.0, 2]), np.array([2.0, 3]), 1.0), [h, 14 / 13 / (26 * h)])
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3000, 200))
    missed = 0.2 * values * rng.standard_normal(values.shape)
    found, widths = np.transpose([relative_error(*pair, 1.0) for pair in zip(missed, values, strict=True)])
    np.testing.assert_allclose(np.mean(found), 0.2, rtol=0.02)
    np.testing.assert_allclose(np.sqrt(np.mean(widths**2)), np.std(found), rtol=0.1)


@pytest.mark.parametrize("arrangement", [arrange_sparse, arrange_dense])
def test_kernels_are_the_masked_losses_and_products(arrangement, dtype, tol, monkeypatch):
    monkeypatch.setattr(layouts, "MOST_BLOCKS", 3)  # Fewer loops to compile.
    entries = scattered(1, (40, 25), 300, dtype)
    values, mask = densely(entries)
    A, B = factors_of(entries, 4, dtype)
    a, b = (np.asarray(x, np.float64) for x in (A, B))
    residual = mask * (a @ b.T) - values / 2
    (value, (by_left, by_right)), product, transposed = kernels(A, B, arrangement(entries))
    np.testing.assert_allclose(value, np.sum(residual**2) / 2, rtol=tol(A))
    np.testing.assert_allclose(by_left, residual @ b, atol=tol(A) * np.abs(residual @ b).max())
    np.testing.assert_allclose(by_right, residual.T @ a, atol=tol(A) * np.abs(residual.T @ a).max())
    sparse = scipy.sparse.coo_array((entries.values.astype(np.float64), entries[:2]), entries.shape).tocsr()
    np.testing.assert_allclose(product, sparse @ b / 2, atol=tol(A))
    np.testing.assert_allclose(transposed, sparse.T @ a / 2, atol=tol(A))


def test_chunks_values_alone_and_what_follows(monkeypatch):
    entries = scattered(2, (60, 50), 400)
    A, B = factors_of(entries, 3, "float64")
    value, (by_left, _) = value_and_gradients(A, B, arrange_dense(entries))
    monkeypatch.setattr(layouts, "CHUNK", 32)
    monkeypatch.setattr(layouts, "MOST_BLOCKS", 3)
    cut = arrange_sparse(entries)
    assert max(block.rows.shape[0] for block in cut.csr.blocks) > 2
    tripled = jax.jit(lambda A: 3 * layouts.sum_squared_error(A, B, cut))
    np.testing.assert_allclose(tripled(A), 3 * value, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.grad(tripled))(A), 3 * by_left, rtol=1e-10, atol=1e-12)


@settings(max_examples=50)
@given(degrees=st.lists(st.integers(0, 400), min_size=1, max_size=60).filter(any))
def test_blocks_hold_every_row_once_and_pad_little(degrees):
    degrees = np.asarray(degrees)
    blocks = layouts._by_degree(degrees)
    assert sorted(np.concatenate(blocks).tolist()) == np.flatnonzero(degrees).tolist()
    room = sum(len(block) * degrees[block].max() for block in blocks)
    assert len(blocks) <= layouts.MOST_BLOCKS
    assert room <= (1 + layouts.PADDING) * degrees.sum() or len(blocks) == layouts.MOST_BLOCKS
    edges = [(degrees[block].min(), degrees[block].max()) for block in blocks]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(edges))


def test_block_edges_are_the_best_ones():
    degrees = np.asarray([1, 1, 2, 5, 6, 6, 9, 20, 21, 40])
    groups = layouts._by_degree(degrees)
    cuts = itertools.combinations(range(1, len(degrees)), len(groups) - 1)
    rooms = [sum(len(part) * part.max() for part in np.split(degrees, cut)) for cut in cuts]
    assert sum(len(group) * degrees[group].max() for group in groups) == min(rooms)


def test_padding_costs_little():
    rng = np.random.default_rng(0)
    places = np.unique(rng.integers(0, 10**6, 50_000))
    rows, columns = np.divmod(places, 1000)
    lists = arrange_sparse(Entries(rows.astype(np.int32), columns.astype(np.int32), np.ones(len(rows)), (1000, 1000)))
    for csr in lists:
        assert sum(block.values.size for block in csr.blocks) < 1.25 * len(rows)


def test_a_line_longer_than_a_chunk_is_not_padded(monkeypatch):
    monkeypatch.setattr(layouts, "CHUNK", 32)
    columns = np.concatenate([np.arange(400), np.arange(400)]).astype(np.int32)
    rows = np.concatenate([np.zeros(400), 1 + np.arange(400) % 100]).astype(np.int32)
    csr = arrange_sparse(Entries(rows, columns, np.ones(800), (101, 400))).csr
    assert sum(block.values.size for block in csr.blocks) <= (1 + layouts.PADDING) * 800
    A, B = factors_of(Entries(rows, columns, np.ones(800), (101, 400)), 2, "float64")
    expected = np.sum((np.sum(np.asarray(A)[rows] * np.asarray(B)[columns], axis=1) - 1) ** 2) / 2
    value = layouts.sum_squared_error(A, B, layouts.Sparse(csr, csr))
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_the_layout_follows_the_density_the_columns_and_the_size():
    sparse, half = scattered(4, (60, 50), 150), scattered(4, (60, 50), 1500)
    assert isinstance(arrange(sparse, 10), layouts.Sparse)
    assert isinstance(arrange(half, 10), layouts.Dense)
    tenth = scattered(4, (60, 50), 330)
    assert isinstance(arrange(tenth, 10), layouts.Sparse)
    assert isinstance(arrange(tenth, 40), layouts.Dense)
    assert isinstance(arrange(half, 10, dense=False), layouts.Sparse)
    huge = half._replace(shape=(10**5, 10**5))
    assert isinstance(arrange(huge, 10), layouts.Sparse)


def largest_array(jaxpr):
    """The largest array in a traced program, inner programs included."""
    sizes = [v.aval.size for eqn in jaxpr.eqns for v in eqn.outvars if hasattr(v.aval, "size")]
    inner = [p for eqn in jaxpr.eqns for p in jax.tree.leaves(eqn.params, is_leaf=lambda p: hasattr(p, "eqns"))]
    inner = [getattr(p, "jaxpr", p) for p in inner]
    return max([*sizes, *(largest_array(p) for p in inner if hasattr(p, "eqns"))], default=0)


@pytest.mark.parametrize(("arrangement", "small"), [(arrange_sparse, True), (arrange_dense, False)])
def test_only_dense_entries_make_an_array_of_the_matrix(arrangement, small):
    rng = np.random.default_rng(0)
    m, n, count, q = 1500, 1000, 6000, 4
    rows, columns = np.divmod(rng.choice(m * n, count, replace=False), n)
    entries = Entries(rows.astype(np.int32), columns.astype(np.int32), np.ones(count), (m, n))
    A, B = factors_of(entries, q, "float64")
    traced = jax.make_jaxpr(jax.value_and_grad(layouts.sum_squared_error, argnums=(0, 1)))(A, B, arrangement(entries))
    assert (largest_array(traced.jaxpr) < 2 * q * count) == small
    assert "scatter" not in str(traced)


def test_the_warning_is_the_only_one(recwarn):
    from_coo(ROWS, COLUMNS, VALUES, (3, 3))
    assert not recwarn.list
