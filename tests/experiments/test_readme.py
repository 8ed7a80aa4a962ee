"""The tables of README.md and figures/README.md are those of what is published."""

import json
import re
import shutil

import pytest
from source_tree import ROOT

from experiments import published, readme
from experiments.papers import PAPERS
from experiments.runner.generated import filled
from experiments.runner.store import InputError

OLD = "fashion_mnist_low_rank_once"
MARKS = ("papers", "speed", "missing")
EMPTY = (
    "# A title\n\n" + "\n\ntext\n\n".join(f"<!-- begin {part} -->\nold\n<!-- end {part} -->" for part in MARKS) + "\n"
)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with two runs of this one, one of version 0.1 and its benchmarks, and a README with marks."""
    for name in ("dln_momentum", "jumps_depth", OLD):
        shutil.copytree(ROOT / "figures" / name, tmp_path / "figures" / name)
    (tmp_path / "configs").mkdir()
    for name in ("dln_momentum", "jumps_depth", "fashion_mnist_low_rank", "dln_muon"):
        shutil.copy(ROOT / "configs" / f"{name}.py", tmp_path / "configs")
    shutil.copytree(ROOT / "benchmarks" / "results", tmp_path / "benchmarks" / "results")
    (tmp_path / "README.md").write_text(EMPTY)
    monkeypatch.setattr(readme, "SOURCE", tmp_path)
    return tmp_path


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_readme_is_up_to_date():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == readme.documents(ROOT)["README.md"], "write it again: python -m experiments.readme"


def test_the_page_of_the_figures_is_up_to_date():
    text = (ROOT / "figures" / "README.md").read_text(encoding="utf-8")
    assert text == readme.figures_page(ROOT), "write it again: python -m experiments.readme"


def test_verdicts_are_counted_over_all_tables_of_a_paper_without_checks(checkout):
    file = checkout / "figures" / "jumps_depth" / "claims.json"
    table = json.loads(file.read_text())
    table["claims"][0]["kind"] = "check"
    file.write_text(json.dumps(table))
    rows = {cells(line)[0][:10]: cells(line)[2:] for line in readme.papers_table(checkout) if "arXiv" in line}
    counts = [sum(c["status"] == s for c in table["claims"][1:]) for s in ("holds", "fails", "refuted")]
    assert rows["Wang and J"][:3] == list(map(str, counts))
    assert rows["Eftekhari "] == ["0"] * 5
    # Of version 0.1: 15 numbers without a bound are no claims.
    assert rows["Xu et al. "] == ["2", "0", "0", "0", "0"]


def test_every_paper_has_a_law_and_the_arxiv_id_of_the_citation():
    cited = re.findall(r'"arXiv:([\d.]+)"', (ROOT / "CITATION.cff").read_text())
    assert {paper.arxiv for paper in PAPERS.values()} <= set(cited)
    assert all(paper.law.endswith(".") for paper in PAPERS.values())


def test_speed_is_that_of_the_benchmarks(checkout):
    file = checkout / "benchmarks" / "results" / "galore.json"
    page = json.loads(file.read_text())
    (row,) = [row for row in page["tables"][0]["rows"] if row[0] == readme.SPEED[3].rows[0]]
    row[1] = 0.0125
    file.write_text(json.dumps(page))
    table = readme.speed_table(checkout)
    assert len(table) == 2 + len(readme.SPEED)
    assert cells(table[5])[1] == "80 times faster"
    assert cells(table[5])[3] == page["machine"]
    assert cells(table[5])[4] == "[galore](benchmarks/results/galore.md)"


def test_what_was_never_run_is_named(checkout):
    devices, papers, never, old = readme.missing(checkout)
    assert devices.endswith("all 2 runs that this version published were made on CPUs. None is of a GPU or TPU.")
    assert never == "- Configs without a published run: `dln_muon`."
    assert papers.startswith("- Paper profiles: 4 of 4 have no published run ([which, ")
    listed = readme.figures_page(checkout).partition("## Paper profiles without a run")[2]
    configs = ("dln_momentum", "dln_muon", "jumps_depth", "fashion_mnist_low_rank")
    assert [name for name in configs if f"[`{name}`](" not in listed] == []
    assert old.endswith(f": `{OLD}`.")
    record = checkout / "figures" / "jumps_depth" / "provenance.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"platform": "gpu"}))
    assert readme.missing(checkout)[0].endswith("were made on CPUs and GPUs.")


def test_the_command_replaces_what_is_between_the_marks_alone(checkout, capsys):
    assert readme.main(["--check"]) == 1
    assert (checkout / "README.md").read_text() == EMPTY
    assert "README.md: would change; write it with python -m experiments.readme" in capsys.readouterr().out
    assert readme.main([]) == 0
    text = (checkout / "README.md").read_text()
    assert text.startswith("# A title\n\n<!-- begin papers -->\n\n| paper |")
    assert text.count("\n\ntext\n\n") == 2
    assert "old\n" not in text
    assert readme.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (EMPTY.replace("<!-- end speed -->", ""), "README.md: has 0 marks <!-- end speed --> in place of one"),
        (EMPTY + "<!-- begin speed -->", "README.md: has 2 marks <!-- begin speed --> in place of one"),
        (EMPTY.replace("begin", "b").replace("end", "begin").replace("b ", "end "), "comes before"),
    ],
)
def test_a_mark_that_is_missing_is_a_line(checkout, capsys, text, said):
    (checkout / "README.md").write_text(text)
    assert readme.main([]) == 2
    assert said in capsys.readouterr().err
    assert (checkout / "README.md").read_text() == text


def test_marks_keep_backslashes_and_the_rest():
    text = filled("a\n<!-- begin x -->\n<!-- end x -->\nb\n", {"x": [r"\1 \\|"]}, "A.md")
    assert text == "a\n<!-- begin x -->\n\n\\1 \\\\|\n\n<!-- end x -->\nb\n"
    with pytest.raises(InputError, match="has 0 marks"):
        filled("a", {"x": []}, "A.md")


def test_the_page_of_the_figures_says_how_each_was_made(checkout):
    page = readme.figures_page(checkout).partition("## Paper")[0]
    rows = [cells(line) for line in page.splitlines() if line.startswith("| [")]
    assert [row[0] for row in rows] == [f"[`{name}`]({name})" for name in published.names(checkout)]
    record = json.loads((checkout / "figures" / "dln_momentum" / "provenance.json").read_text())
    assert rows[0][2:5] == ["cpu", "2", record["end"][:10]]
    assert {row[0]: row[4] for row in rows}[f"[`{OLD}`]({OLD})"] == "by version 0.1"
