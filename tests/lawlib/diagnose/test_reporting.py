"""The second half of a diagnosis against direct formulas, in four ways of writing a network, and on bad input."""

import dataclasses
import functools as ft

import diagnosed
import four_ways
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.diagnose import after, before
from lawlib.diagnose.changes import approximations
from lawlib.diagnose.held_out import recommended
from lawlib.linalg.leaves import replace
from lawlib.linalg.matricization import Matricization
from lawlib.tracking import TrackedLeaf

KEY, K, RANKS = jax.random.key(1), diagnosed.K, diagnosed.RANKS
started, reported = diagnosed.started, diagnosed.reported


def of_type(dtype):
    return reported(None if dtype == np.float64 else dtype.type)


def stable_rank(M):
    s = np.linalg.svd(M, compute_uv=False)
    return np.sum(s**2) / s[0] ** 2


def energy(M):
    return np.sum(np.square(M))


# Numbers. -------------------------------------------------------------------------------------------------------------


def test_shares_ranks_and_spectra_are_those_of_dense_decompositions(dtype):
    weights, _, changes, _ = diagnosed.problem()
    rtol = 1e4 * float(jnp.finfo(dtype).eps)
    for name, one in of_type(dtype).layers.items():
        W, D, ((P, Q), s) = weights[name], changes[name], diagnosed.big(name)
        parts = P @ P.T @ D, D @ Q @ Q.T, P @ P.T @ D @ Q @ Q.T
        np.testing.assert_allclose(one.big, [energy(part) / energy(D) for part in parts], rtol=100 * rtol)
        values = np.linalg.svd(D, compute_uv=False)
        np.testing.assert_allclose(one.changes, values[: RANKS[-1]], atol=rtol)
        np.testing.assert_allclose(one.kept, [energy(values[:rank]) / energy(D) for rank in RANKS], rtol=rtol)
        np.testing.assert_allclose(one.gap, (s[K - 1] - s[K]) / s[0], rtol=rtol)
        np.testing.assert_allclose(one.moved, np.sqrt(energy(D) / energy(W)), rtol=rtol)
        found = one.stable_rank_start, one.stable_rank, one.stable_rank_change
        np.testing.assert_allclose(found, [stable_rank(M) for M in (W, W + D, D)], rtol=rtol)
        assert one.certified


def test_random_subspaces_of_the_same_dimensions_hold_the_share_of_their_dimensions():
    for name, one in reported().layers.items():
        m, n = diagnosed.SHAPES[name]
        p, q = min(2 * K, m) / m, min(2 * K, n) / n
        error = 5 * np.asarray(one.spread) / np.sqrt(diagnosed.DRAWS) + 1e-12
        assert np.all(np.abs(np.asarray(one.random) - [p, q, p * q]) <= error)
        assert p == 1 or 0.03 < one.spread.inputs < 0.3


def test_the_network_is_run_with_each_change_cut_to_each_rank_and_projected_on_s_big(dtype):
    weights, _, changes, _ = diagnosed.problem()
    held = of_type(dtype).held_out
    without = -sum(np.sum(changes[name] * W) for name, W in weights.items())
    spectra = [np.linalg.svd(D, compute_uv=False) for D in changes.values()]
    in_big = 0
    for name, D in changes.items():
        (P, Q), _ = diagnosed.big(name)
        in_big += energy(P.T @ D @ Q)
    rtol = 1e4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(held.without, without, rtol=rtol)
    np.testing.assert_allclose(held.trained, without - sum(map(energy, spectra)), rtol=rtol)
    np.testing.assert_allclose(held.in_big, without - in_big, rtol=100 * rtol)
    at_ranks = [without - sum(energy(s[:rank]) for s in spectra) for rank in RANKS]
    np.testing.assert_allclose(held.at_ranks, at_ranks, rtol=rtol)


@pytest.mark.parametrize(("tolerance", "rank"), [(0.5, 1), (0.05, 2), (0.01, 4), (0.0, 0)])
def test_the_recommended_rank_is_the_smallest_that_is_within_the_tolerance(tolerance, rank):
    """The lost shares are 32% at rank 1, 2.1% at rank 2, 0.13% at rank 4 and above 0 at rank 6."""
    assert recommended(RANKS, reported().held_out, jnp.asarray(tolerance)) == rank


def test_the_report_says_what_it_recommends_and_what_backs_it():
    report = reported()
    held = report.held_out
    assert report.recommended == 2
    for number in (held.trained, held.without, held.at_ranks[1]):
        assert f" {number:.6g} " in str(report)
    assert "Recommended rank: 2." in report.markdown()
    none = str(report._replace(recommended=jnp.asarray(0)))
    assert "none of [1, 2, 4, 6] has a held-out loss within 5% of what the changes gain" in none
    assert "Not covered, smaller than K = 2: thin." in str(
        report._replace(plan=dataclasses.replace(report.plan, left_out=("thin",)))
    )
    broken = report._replace(recommended=jnp.asarray(0), held_out=held._replace(trained=jnp.asarray(jnp.nan)))
    assert "No rank is recommended: the held-out loss of the trained network is nan." in str(broken)
    assert "the same axes each time: table. Name" in str(
        report._replace(plan=dataclasses.replace(report.plan, unread=("table",)))
    )
    assert "off from commuting with rotations by 0.4:" in str(report._replace(defect=jnp.asarray(0.4)))


def test_uncompiled_with_a_measure_and_ranks_that_double_from_2k_as_long_as_they_save_something():
    """One layer alone; the loss of the trained network is below that of the start."""
    weights, batches, changes, held_out = jax.tree.map(jnp.asarray, diagnosed.problem())
    start = before(KEY, diagnosed.loss, weights, batches, k=K, matrices={"second": "second"})
    trained, minus = jax.tree.map(jnp.add, weights, changes), lambda *given: -diagnosed.loss(*given)
    report, compiled = after(KEY, start, trained, held_out, measure=minus), reported()
    assert report.ranks.tolist() == [2 * K]
    np.testing.assert_allclose(report.held_out.trained, -compiled.held_out.trained)
    assert report.recommended == 0
    assert "does not lower the held-out loss" in str(report)
    one, other = report.layers["second"], compiled.layers["second"]
    np.testing.assert_allclose(one.kept[0], other.kept[RANKS.index(2 * K)])
    for name in ("values", "gap", "big", "moved", "stable_rank_start", "stable_rank", "stable_rank_change"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-8, err_msg=name)


def test_a_layer_that_does_not_change_has_no_shares_and_prints_dashes():
    report = reported(frozen=("second",))
    one = report.layers["second"]
    for nothing in (*one.big, *one.random, *one.spread, one.stable_rank_change, *one.kept):
        assert np.isnan(nothing)
    assert one.moved == 0
    assert np.isfinite(one.stable_rank)
    (line,) = [line for line in str(report).splitlines() if line.startswith("second")]
    assert line.split()[6:] == ["-"] * 4 + ["0%", line.split()[11], *["-"] * 5]


@pytest.mark.parametrize("shape", [(7, 5), (5, 7)])
def test_approximations_are_those_of_a_full_decomposition(shape, dtype):
    D = np.random.default_rng(2).standard_normal(shape)
    U, s, Vt = np.linalg.svd(D)
    best = approximations(KEY, jnp.asarray(D, dtype), 4)
    tol = 1e3 * float(jnp.finfo(dtype).eps)
    for rank in range(5):
        wanted = U[:, :rank] * s[:rank] @ Vt[:rank]
        np.testing.assert_allclose(best.between(0, rank), wanted, atol=tol)
    np.testing.assert_allclose(best.between(1, 3), U[:, 1:3] * s[1:3] @ Vt[1:3], atol=tol)


# Of 60 rows and columns: a spectrum that falls, a flat one, and a change of one direction alone.
SPECTRA = {"falling": 0.7 ** np.arange(60.0), "flat": np.linspace(2, 1, 60), "one": np.eye(1, 60)[0]}


@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize("shape", [(60, 80), (80, 60)])
def test_a_block_of_columns_gives_the_best_approximations_or_a_full_decomposition_does(kind, shape):
    rng, s = np.random.default_rng(4), SPECTRA[kind]
    U, V = (np.linalg.qr(rng.standard_normal((side, 60)))[0] for side in shape)
    D = jnp.asarray((U * s) @ V.T, jnp.float32)
    best = jax.jit(approximations, static_argnums=2)(KEY, D, 16)
    for rank in (1, 4, 16):
        off = np.linalg.svd(np.asarray(D, np.float64) - np.asarray(best.between(0, rank), np.float64), compute_uv=False)
        # Energies are exact to rounding, so that values near 0 are off by its root.
        np.testing.assert_allclose(off[0] ** 2, s[rank] ** 2, rtol=0, atol=60 * float(jnp.finfo(jnp.float32).eps))
        assert np.sum(off**2) <= np.sum(s[rank:] ** 2) + 60 * float(jnp.finfo(jnp.float32).eps)


# Of 256: below one value flat tails, which the squares in float32 hold and lose, and a value that squares to rounding.
TAILS = {f"tail {size:g}": np.r_[1, size * np.linspace(1, 0.3, 255)] for size in (1e-3, 3e-3, 4e-3)}
TAILS |= {"two": np.r_[1, 5e-4, np.zeros(254)], "one": np.eye(1, 256)[0]}


@pytest.mark.parametrize("kind", TAILS)
def test_values_are_in_order_and_their_squares_are_off_by_rounding(kind):
    rng, s = np.random.default_rng(5), TAILS[kind]
    U, V = (np.linalg.qr(rng.standard_normal((side, 256)))[0] for side in (300, 256))
    D = ((U * s) @ V.T).astype(np.float32)
    truth = np.linalg.svd(D.astype(np.float64), compute_uv=False)[:8]
    rounding = 2 * 256**0.5 * float(jnp.finfo(jnp.float32).eps) * truth[0] ** 2
    for seed in range(3):
        best = jax.jit(approximations, static_argnums=2)(jax.random.key(seed), D, 8)
        values = np.asarray(best.values, np.float64)
        assert np.all(np.diff(values) <= 0)
        np.testing.assert_allclose(np.linalg.norm(np.asarray(best.left), axis=0), values, rtol=1e-5)
        np.testing.assert_allclose(values**2, truth**2, rtol=0, atol=rounding)
        assert np.all(np.abs(values - truth) <= np.sqrt(rounding))


def test_only_what_a_block_of_columns_does_not_give_is_decomposed(monkeypatch):
    lost = lambda A, count: jnp.full((len(A), count), jnp.nan, A.dtype)  # noqa: E731
    monkeypatch.setattr("lawlib.diagnose.changes._decomposed", lost)
    found = {
        name: jax.jit(lambda D: approximations(KEY, D, 16).left)(jnp.diag(jnp.asarray(s, jnp.float32)))
        for name, s in SPECTRA.items()
    }
    assert {name: bool(jnp.isfinite(left).all()) for name, left in found.items()} == {
        "falling": True,
        "flat": False,
        "one": True,
    }


# Other networks. ------------------------------------------------------------------------------------------------------

LAYERS = ("conv", "query")


@ft.cache
def in_a_way(name):
    """The report of two layers, which the trained network has changed."""
    way, trained = four_ways.WAYS[name](jnp.float64), four_ways.WAYS[name](jnp.float64).params
    rng = np.random.default_rng(3)
    for layer in LAYERS:
        where, read = way.layers[layer]
        kernel = four_ways.kernels(jnp.float64)[layer]
        M = four_ways.READ[layer].matrix(kernel)
        M += diagnosed.gapped(rng, M.shape, [0.3, 0.2])
        if name == "nnx":
            getattr(trained, layer).kernel[...] = read.leaf(M, kernel)
        else:
            leaf = kernel if name in ("plain", "linen") else where(trained)
            trained = replace(trained, where, read.leaf(M, leaf))
    matrices = {layer: TrackedLeaf(*way.layers[layer]) for layer in LAYERS}
    batches = four_ways.batches(jnp.float64)
    start = before(jax.random.key(0), way.loss, way.params, batches, k=2, matrices=matrices)
    return after(KEY, start, trained, batches, ranks=(1, 2))


@pytest.mark.parametrize("name", ["linen", "nnx", "equinox"])
def test_a_network_written_in_another_way_has_the_same_report(name):
    ours, plain = in_a_way(name), in_a_way("plain")
    assert list(ours.layers) == list(LAYERS)
    for found in ("layers", "held_out", "recommended"):
        compare = ft.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-10)
        jax.tree.map(compare, getattr(ours, found), getattr(plain, found))


def stacked(params, batch):
    return jnp.sum(jax.lax.scan(lambda x, W: (jnp.tanh(x @ W), None), batch, params["stack"])[0] ** 2)


def test_a_stack_of_layers_has_a_row_for_each_and_a_dead_layer_no_s_big():
    rng = np.random.default_rng(0)
    params = {"stack": jnp.asarray(rng.standard_normal((3, 5, 5))).at[2].set(0)}
    batches = jnp.asarray(rng.standard_normal((1, 4, 5)))
    start = jax.jit(lambda params: before(KEY, stacked, params, batches, k=1))(params)
    trained = {"stack": params["stack"] + diagnosed.gapped(rng, (5, 5), [1.0, 0.1])[None]}
    report = jax.jit(ft.partial(after, ranks=(1, 2)))(KEY, start, trained, batches)
    assert list(report.layers) == ["stack[0]", "stack[1]", "stack[2]"]
    for one in report.layers.values():
        np.testing.assert_allclose(one.kept, [1 / 1.01, 1], rtol=1e-12)
        assert np.isnan(one.big.both)  # the last layer is 0, so that no gradient reaches any
        assert not one.certified
    np.testing.assert_allclose(report.held_out.at_ranks[1], report.held_out.trained, rtol=1e-10)


# Bad input. -----------------------------------------------------------------------------------------------------------


def changed(**options):
    weights, _, changes, held_out = jax.tree.map(jnp.asarray, diagnosed.problem())
    given = {"start": started(), "params": jax.tree.map(jnp.add, weights, changes), "held_out": held_out} | options
    return after(KEY, given.pop("start"), given.pop("params"), given.pop("held_out"), **given)


def params_with(**leaves):
    return jax.tree.map(jnp.asarray, diagnosed.problem()[0]) | leaves


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {"first": jnp.ones((9, 8)), "more": jnp.ones(2)}}, r"lack \['last', 'second'\].* have \['more'\]"),
        ({"params": params_with(last=jnp.ones((8, 4)))}, r"'last' had the shape \(8, 3\) and has \(8, 4\)"),
        ({"params": params_with(last=jnp.full((8, 3), jnp.nan))}, r"trained weights of \['last'\] are not finite"),
        ({"params": params_with()}, r"none of the layers \['first', 'last', 'second'\] has changed"),
        ({"held_out": {"first": (jnp.ones((1, 2, 9)), jnp.ones((1, 2, 8)))}}, "held_out must be a tree of the same"),
        (
            {"params": params_with(last=jnp.ones((8, 3), jnp.float32))},
            "'last' had the dtype float64 and has float32",
        ),
        (
            {"held_out": {name: (jnp.ones((2, m)), jnp.ones((2, n))) for name, (m, n) in diagnosed.SHAPES.items()}},
            "held_out must be a tree of the same",
        ),
        (
            {"held_out": {name: (jnp.ones((1, 2, 5)), jnp.ones((1, 2, 8))) for name in diagnosed.SHAPES}},
            r"does not run on a batch of held_out, whose arrays have the shapes \[\(1, 2, 5\)",
        ),
        ({"measure": lambda params, batch: jnp.full((), jnp.nan)}, "mean held-out loss .* is nan"),
        ({"ranks": (4, 2)}, r"ranks must be whole numbers .* got \(4, 2\)"),
        ({"ranks": ()}, "ranks must be whole"),
        ({"ranks": (0, 2)}, "ranks must be whole"),
        ({"tolerance": -1.0, "draws": 1}, "tolerance must be .*; draws must be a whole number of at least 2"),
    ],
)
def test_bad_input_is_refused_in_a_line(options, message):
    with pytest.raises(ValueError, match=message):
        changed(**options)


@pytest.mark.usefixtures("unchecked")
def test_a_start_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"lawlib\.diagnose\.before returns, got dict"):
        changed(start={})


def test_the_matricization_of_a_named_layer_is_the_one_that_is_given():
    matrices = {"first": TrackedLeaf("first", Matricization(1, 0))}
    weights, batches, _, _ = jax.tree.map(jnp.asarray, diagnosed.problem())
    start = before(jax.random.key(0), diagnosed.loss, weights, batches, k=K, matrices=matrices)
    (P, Q), _ = diagnosed.big("first")
    for found, basis in zip((start.layers["first"].inputs, start.layers["first"].outputs), (Q, P), strict=True):
        np.testing.assert_allclose(found.basis @ found.basis.T, basis @ basis.T, atol=1e-8)
