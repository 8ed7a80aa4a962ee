"""Each example runs alone, and finds what it says; the page that shows them quotes them."""

import re
import runpy

import jax
import numpy as np
import pytest
from source_tree import ROOT

WAYS = {"plain", "in_linen", "in_nnx", "in_equinox"}
PAGE = ROOT / "docs" / "use" / "networks.md"


def printed(capsys, name):
    """What an example found, and the lines that it printed, under JAX's own settings."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")["FOUND"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [line.split()[0] for line in lines][: len(found)] == [*found]
    return found, lines


def test_the_watched_change_lies_in_few_directions_in_every_framework(capsys):
    found, lines = printed(capsys, "watch_a_network")
    assert set(found) == WAYS
    for records in found.values():
        assert records.step.tolist() == [0, 20, 40]
        assert records.certified[-1]
        assert not records.norm[0]
        # Of 32 directions ten hold nearly all of the change; the rest is bounded by the certified values.
        assert 0.85 < np.sum(records.values[-1] ** 2) / records.norm[-1] ** 2 < 0.99
    assert all("certified: True" in line for line in lines)


def test_the_diagnosed_change_lies_in_s_big_and_a_rank_is_recommended(capsys):
    found, lines = printed(capsys, "diagnose_a_network")
    assert set(found) == {"plain", "in_nnx"}
    for report in found.values():
        first = report.layers["first"]
        assert first.big.both > 0.6
        assert first.random.both < 0.25
        assert int(report.recommended) == 18
    assert any("Recommended rank: 18." in line for line in lines)


def test_small_heads_are_a_quarter_of_the_network_and_learn(capsys):
    found, lines = printed(capsys, "train_a_small_head")
    assert set(found) == {"linen", "plain", "in_nnx", "in_equinox"}
    for (before, after), accuracy in found.values():
        assert 4 * after.parameters < before.parameters
        assert accuracy > 0.85
    biases = 128 + 128 + 10
    assert found["linen"][0].before.parameters == found["plain"][0].before.parameters + biases == 26_122
    assert all("in place of 2" in line for line in lines)


def test_adapters_find_the_same_in_every_framework(capsys):
    found, lines = printed(capsys, "adapt_a_network")
    assert set(found) == WAYS
    for before, after, certified in found.values():
        assert before < 0.3
        assert after > 0.8
        assert all(certified)
        # One prediction of 597 may depend on rounding.
        np.testing.assert_allclose([before, after], found["plain"][:2], rtol=0, atol=2 / 597)
    assert all("certified: [True, True]" in line for line in lines)


def test_galore_keeps_a_tenth_of_the_numbers_and_refreshes_when_asked(capsys):
    found, _ = printed(capsys, "galore_without_svd")
    for before, after, kept, full, refreshes in found.values():
        assert after < before / 4
        assert 10 * kept < full
        assert len(refreshes) == 2
        assert all(1 <= number < 20 for number in refreshes)


def test_a_matrix_is_completed_by_both_methods_which_know_their_errors(capsys):
    found, _ = printed(capsys, "complete_a_matrix")
    assert set(found) == {"deep", "als"}
    for completion, missed in found.values():
        assert completion.converged
        assert missed < 1e-3
        assert missed == pytest.approx(completion.held_out_error, rel=0.5)


def test_the_page_quotes_the_examples():
    files = {path.name: path.read_text() for path in (ROOT / "examples").glob("*.py")}
    page = PAGE.read_text()
    named = set(re.findall(r"\(\.\./\.\./examples/(\w+\.py)\)", page))
    assert named == set(files)
    quotes = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL)
    assert len(quotes) >= 4
    for name, quote in quotes:
        assert quote in files[name], f"{name} has other lines than the page"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path):
    assert len(path.read_text().splitlines()) < 60
