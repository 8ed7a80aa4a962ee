"""docs/mission.md says what the published tables say, and names configs, claims and tests that exist."""

import ast
import functools as ft
import re
import shutil

import pytest
from synthetic import NAMES, config_of, experiment_of

from experiments import mission
from experiments.mission import PAPERS, document, of_no_item, published
from experiments.papers.item import Item, Paper
from experiments.runner.checkout import SOURCE

ITEMS = [(paper.name, item) for paper in PAPERS for item in paper.items]
CLAIMED = [(item.name, config, ids) for _, item in ITEMS for config, ids in item.claims.items()]


def test_the_document_is_up_to_date():
    text = (SOURCE / "docs" / "mission.md").read_text(encoding="utf-8")
    assert text == document(SOURCE), "write it again: python -m experiments.mission"


def test_every_item_has_a_name_of_its_own_and_says_what_it_is():
    for paper in PAPERS:
        names = [item.name for item in paper.items]
        assert len(set(names)) == len(names)
        assert all(item.says for item in paper.items)


@pytest.mark.parametrize(("name", "config", "patterns"), CLAIMED)
def test_claims_are_those_of_the_config(name, config, patterns):
    assert config in NAMES
    ids = {law.id for law in experiment_of(config_of(config)).laws}
    for pattern in patterns.split():
        family = re.escape(pattern.partition("[")[0]).replace(r"\*", ".*")
        assert any(re.fullmatch(family, id) for id in ids), pattern


@ft.cache
def functions(file):
    return {node.name for node in ast.parse((SOURCE / file).read_text()).body if isinstance(node, ast.FunctionDef)}


def test_tests_that_are_named_exist():
    for _, item in ITEMS:
        for test in item.tests:
            file, _, name = test.partition("::")
            assert name in functions(file), test


def test_every_config_with_claims_is_of_some_item():
    assert set(NAMES) - {config for _, config, _ in CLAIMED} == {"collapse_digits"}


def test_every_figure_and_theorem_has_its_own_item():
    """Of the main figures and theorems; what is numbered in an appendix may share an item."""
    numbers = {"Yaras et al. 2023": (12, 2), "Xu et al. 2026": (15, 0), "Wang and Jacot 2024": (4, 0)}
    # Of the successor paper, what its summary says.
    numbers |= {"Eftekhari 2020": (1, 0), "Laus et al. 2025": (4, 0), "Yaras et al. 2024": (0, 0)}
    for paper in PAPERS:
        figures, theorems = numbers[paper.name]
        every = " ".join(item.name for item in paper.items)
        for number in range(1, figures + 1):
            assert re.search(rf"Figure {number}(?!\d)", every), (paper.name, number)
        for number in range(1, theorems + 1):
            assert f"Theorem {number}" in every


# On tables made up: what a cell says. ---------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path):
    """The published tables of a checkout with two configs of this one."""
    for name in ("dln_momentum", "inverse_dimension"):
        shutil.copytree(SOURCE / "figures" / name, tmp_path / "figures" / name)
    (tmp_path / "figures" / "jumps_depth").mkdir()
    (tmp_path / "figures" / "jumps_depth" / "claims.md").write_text("| id |\n")
    shutil.copytree(SOURCE / "configs", tmp_path / "configs")
    return published(tmp_path)


def cells(item, tables):
    return [row[2:] for row in mission._rows(item, tables)]


def test_what_is_missing_is_said(tables):
    assert cells(Item("Lemma 9", "it converges"), tables) == [("-", "-", "-", "not covered")]
    tested = Item("Lemma 9", "it converges", tests=("tests/a.py::test_b",))
    assert cells(tested, tables) == [("-", "tested: tests/a.py (test_b)", "-", "tested")]
    for config, said in (("jumps_depth", "published by 0.1"), ("jumps_epsilon", "not published")):
        assert cells(Item("Figure 2", "jumps", {config: "F2.*"}), tables)[0][-1] == said
    other = Item("Figure 2", "jumps", {"dln_momentum": "F2.*"})
    assert cells(other, tables)[0][-1] == "no such claim in the published table"


def test_verdicts_are_counted_and_those_that_fail_are_named(tables):
    (row,) = cells(Item("Figure 9", "momentum", {"dln_momentum": "T1.*"}), tables)
    assert row[0] == "dln_momentum"
    assert re.fullmatch(r"T1\.value, T1\.block.*", row[1])
    rows = tables["inverse_dimension"][0].rows
    failed = [claim for claim in rows if claim.status == "fails"]
    (row,) = cells(Item("Figure 2", "s", {"inverse_dimension": "*"}), tables)
    assert (f"{len(failed)} fail" in row[-1]) == bool(failed)
    assert all(claim.id in row[-1] for claim in failed)
    assert row[2] == "cpu"


def test_a_size_is_the_papers_but_for_the_seeds_or_names_what_differs():
    paper = {"net": {"width": 100}, "num_seeds": 10, "variants": [{"name": "a", "opt.step": 1}], "run": {"chunk": 0}}
    fewer = paper | {"num_seeds": 3, "run": {"chunk": 1}}
    assert mission._size(paper, paper) == "paper's"
    assert mission._size(fewer, paper) == "paper's, 3 of its 10 seeds"
    assert mission._size(fewer | {"net": {"width": 20}}, paper) == "net.width 20 (paper 100), 3 of its 10 seeds"
    other = paper | {"variants": [{"name": "a", "opt.step": 2}, {"name": "b"}]}
    assert mission._size(other, paper) == "variants.a.opt.step 2 (paper 1); variants.b some (paper none)"


def test_claims_that_no_item_names_are_listed(tables):
    only = Paper("P", "", (Item("Theorem 1", "", {"dln_momentum": "T1.value*"}),))
    left = of_no_item({"dln_momentum": tables["dln_momentum"]}, (only,))
    assert left["dln_momentum"]
    assert not any(id.startswith("T1.value") for id in left["dln_momentum"])


def test_a_damaged_table_is_a_line(monkeypatch, tmp_path, capsys):
    shutil.copytree(SOURCE / "figures" / "dln_momentum", tmp_path / "figures" / "dln_momentum")
    shutil.copytree(SOURCE / "configs", tmp_path / "configs")
    (tmp_path / "figures" / "dln_momentum" / "claims.json").write_text("{")
    monkeypatch.setattr(mission, "SOURCE", tmp_path)
    assert mission.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "dln_momentum/claims.json" in line


def test_a_check_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(mission, "SOURCE", tmp_path)
    monkeypatch.setattr(mission, "document", lambda source: "new\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mission.md").write_text("old\n")
    assert mission.main(["--check"]) == 1
    assert "would change" in capsys.readouterr().out
    assert (tmp_path / "docs" / "mission.md").read_text() == "old\n"
    assert mission.main([]) == 0
    assert mission.main(["--check"]) == 0
