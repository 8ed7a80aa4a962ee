"""The tables of version 0.1, which are Markdown alone, are read into claims."""

import pytest
from source_tree import ROOT

from experiments.runner.first_tables import BY_FIRST_VERSION, of_first_version, read_first_table
from experiments.runner.store import InputError

HEAD = "| id | kind | figure | statement | measured | members | status |\n| --- | --- | --- | --- | --- | --- | --- |\n"
ROWS = (
    r"| F1 | law | Xu et al. 2026, Fig. 7, classifier only | \|\|W\|\|\_F is small | -0.052 >= -0.15 | 3 | fails |",
    "| F1 | report | Xu et al. 2026, Fig. 7 | final accuracy | median 1.96e+04 | 3 (1 diverged) | holds |",
    "| F2 | printed | Xu et al. 2026, Fig. 7 | 'noticeably' is false | mean -0.02 < 0 | 3 | holds |",
    "| F1 | law | Xu et al. 2026, Fig. 7 | loss (all) (not run: stated for weights (of ImageNet)) | - | 0 | not_run |",
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "claims.md").write_text(HEAD + "\n".join(ROWS) + "\n")
    return tmp_path


def test_a_row_has_its_number_bound_source_and_verdict(folder):
    assert of_first_version(folder)
    law, report, printed, missing = read_first_table(folder)
    assert [claim.id for claim in (law, report, printed, missing)] == ["F1[1]", "F1[2]", "F2", "F1[3]"]
    assert (law.paper, law.figure) == ("Xu et al. 2026", "Fig. 7, classifier only")
    assert law.statement == "||W||_F is small"
    assert (law.statistic, law.measured, law.relation, law.bound) == ("worst", -0.052, ">=", -0.15)
    assert (law.members, law.status, law.spread) == (3, "fails", ())
    assert (report.status, report.reason, report.bound) == ("not_judged", BY_FIRST_VERSION, None)
    assert (report.statistic, report.measured, report.members, report.diverged) == ("median", 19600.0, 3, 1)
    assert (printed.kind, printed.status, printed.bound) == ("printed", "refuted", 0.0)
    assert (missing.measured, missing.status) == (None, "not_run")
    assert (missing.statement, missing.reason) == ("loss (all)", "stated for weights (of ImageNet)")


@pytest.mark.parametrize(
    "text",
    [
        "| id | kind |\n| --- | --- |\n",
        HEAD + "| F1 | law |\n",
        HEAD + "| F1 | law | nobody | it is | 1 < 2 | 3 | holds |\n",
        HEAD + "| F1 | law | Xu et al. 2026, Fig. 7 | it is | 1 << 2 | 3 | holds |\n",
        "",
    ],
)
def test_another_table_is_refused(folder, text):
    (folder / "claims.md").write_text(text)
    with pytest.raises(InputError, match=r"claims\.md: "):
        read_first_table(folder)


def test_every_table_of_the_repository_is_read_row_by_row():
    found = [path for path in (ROOT / "figures").iterdir() if path.is_dir() and of_first_version(path)]
    assert found
    for path in found:
        claims = read_first_table(path)
        lines = (path / "claims.md").read_text().splitlines()[2:]
        assert len(claims) == len(lines) == len({claim.id for claim in claims})
        for claim, line in zip(claims, lines, strict=True):
            assert claim.measured is None or f"{claim.measured:.3g}" in line.replace(".0 ", " ")
            assert line.startswith(f"| {claim.id.partition('[')[0]} |")
