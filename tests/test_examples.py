"""Each example runs alone, in the gallery's form, and finds what it says; its own assertions are part of it."""

import re
import runpy

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from source_tree import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def run(monkeypatch):
    """Runs an example under JAX's own settings, and returns its names; figures are closed afterwards."""
    monkeypatch.setenv("MPLBACKEND", "agg")

    def call(name):
        with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")

    plt.switch_backend("agg")
    yield call
    plt.close("all")


def test_the_watched_change_is_that_of_a_full_decomposition(run):
    found = run("watch_a_network")
    change = found["TRAINED"]["first"] - found["START"]["first"]
    # The last observation is that of step 100, before the last of 101 steps.
    exact = np.linalg.svd(change, compute_uv=False)
    np.testing.assert_allclose(found["FOUND"].values[-1], exact[:10], rtol=0.05)
    assert found["SHARES"][-1] == pytest.approx((exact[:10] ** 2).sum() / (exact**2).sum(), abs=0.01)
    assert found["FOUND"].step.tolist() == [0, 20, 40, 60, 80, 100]


def test_the_diagnosed_change_keeps_its_loss_at_the_recommended_rank(run):
    found = run("diagnose_a_network")
    left, values, right = np.linalg.svd(found["trained"]["first"] - found["PARAMS"]["first"], full_matrices=False)
    cut = found["PARAMS"]["first"] + (left[:, :18] * values[:18]) @ right[:18]
    held_out = jax.tree.map(lambda x: x[0], found["HELD_OUT"])
    loss = found["loss"]({**found["trained"], "first": jnp.asarray(cut)}, held_out)
    assert loss == pytest.approx(float(found["FOUND"].held_out.at_ranks[0]), rel=1e-3)


def test_a_small_head_learns_and_is_one_of_the_given_network(run):
    found = run("compress_a_head")
    shapes = jax.tree.map(jnp.shape, found["START"])
    assert jax.tree.map(jnp.shape, found["DENSE"]) == shapes
    first = found["DENSE"]["params"]["layers_0"]["kernel"]
    assert np.linalg.matrix_rank(first, tol=1e-4) <= 20
    before = found["LOW"].savings.before.parameters
    assert before == 64 * 128 + 128 * 128 + 128 * 10 + 128 + 128 + 10
    assert float(found["CURVES"]["S_big"][-1]) < 0.1 * float(found["CURVES"]["S_big"][0])


def test_adapters_change_their_layers_by_rank_four(run):
    found = run("adapt_a_network")
    for name, kernel in found["TRAINED"].items():
        values = np.linalg.svd(found["ADAPTED"][name] - kernel, compute_uv=False)
        assert values[4] < 1e-4 * values[0]
        assert values[3] > 1e-3 * values[0]


def test_galore_learns_with_a_tenth_of_the_numbers(run):
    found = run("galore_without_svd")
    assert found["FULL"] == 2 * (64 * 128 + 128 * 10) + 1
    assert found["KEPT"] == 2 * (8 * 128 + 128 * 10) + 1 or 10 * found["KEPT"] < found["FULL"]
    assert float(found["RUNS"]["Adam"][1][-1]) < float(found["RUNS"]["GaLore, rank 8"][1][0])


def test_a_matrix_is_completed_and_so_is_its_picture(run):
    found = run("complete_a_matrix")
    product = found["FOUND"]["als"].left @ found["FOUND"]["als"].right.T
    assert np.linalg.norm(product - found["MATRIX"]) < 1e-3 * np.linalg.norm(found["MATRIX"])
    assert len(found["FIGURE"].axes) == 3


def test_both_frameworks_start_in_the_leading_directions_of_one_gradient(run):
    found = run("nnx_and_equinox")
    X, Y = found["X"], found["Y"]

    def loss(first):
        return -jnp.mean(Y * jax.nn.log_softmax(jax.nn.gelu(X @ first) @ found["WEIGHTS"][1]))

    exact = np.linalg.svd(jax.grad(loss)(found["WEIGHTS"][0]), compute_uv=False)
    for gradient, *_ in found["FOUND"].values():
        np.testing.assert_allclose(gradient.svd.values, exact[:4], rtol=1e-2)


@pytest.mark.slow
def test_a_claim_holds_with_another_number(run):
    table = run("reproduce_a_claim")["TABLE"]
    assert list(table["bound"]) == ["< 1e-12", "< 1e-12", "< 1e-12", "== 6", "< 1e-09"]
    assert set(table["dln_momentum: verdict"]) == {"holds"}


@pytest.mark.slow
def test_a_run_is_read_as_it_was_computed(run):
    found = run("load_and_compare")
    assert set(found["VERDICTS"].to_numpy().ravel()) == {"holds"}
    # rho <- (1 - eta lambda) rho - eta rho^5 + mu (rho - rho_before), eq. (16) without decay
    rho = before = 1.0
    for _ in range(50):
        rho, before = rho - rho**5 / 900 + 0.9 * (rho - before), rho
    assert found["CURVES"][0.9].iloc[-1] == pytest.approx(rho, rel=1e-12)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_in_the_form_of_the_gallery(path):
    text = path.read_text()
    assert len(text.splitlines()) < 60
    title, line, empty, _ = text.splitlines()[:4]
    assert re.fullmatch(r'"""[A-Z][\w ]+', title)
    assert line == "=" * (len(title) - 3)
    assert not empty
    assert text.count("\n# %%\n# ") >= 2
    assert "assert" in text


def test_every_example_has_a_test():
    tested = set(re.findall(r'run\("(\w+)"\)', (ROOT / "tests" / "test_examples.py").read_text()))
    assert tested == {path.stem for path in EXAMPLES}
