"""CITATION.cff names this version, the five papers, and the successor of one of them."""

import re
from pathlib import Path

import pytest
import yaml

import lawlib

ROOT = Path(__file__).parents[1]
RELEASE = re.compile(r"^## \[(\d\S*)\] - (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def arxiv(reference):
    (identifier,) = reference["identifiers"]
    return identifier["value"].removeprefix("arXiv:")


def test_the_version_is_the_one_that_was_released_last(citation):
    version, date = RELEASE.search((ROOT / "CHANGELOG.md").read_text()).groups()
    assert citation["version"] == version == lawlib.__version__
    assert str(citation["date-released"]) == date


def test_the_papers_are_those_that_the_library_names(citation):
    def named(reference):
        first, *others = [author["family-names"] for author in reference["authors"]]
        who = f"{first} and {others[0]}" if len(others) == 1 else f"{first} et al." if others else first
        return f"({who} {reference['year']})"

    cited = {named(reference) for reference in citation["references"]}
    assert cited == set(re.findall(r"\([A-Z][A-Za-z. ]+ \d{4}\)", lawlib.__doc__))
    assert len(cited) == len(citation["references"]) == 6


def test_every_paper_has_its_arxiv_number(citation):
    numbers = [arxiv(reference) for reference in citation["references"]]
    assert len(set(numbers)) == 6
    for number, reference in zip(numbers, citation["references"], strict=True):
        assert re.fullmatch(r"\d{4}\.\d{5}", number)
        assert reference["url"] == f"https://arxiv.org/abs/{number}"
        # A paper appears with its preprint or in the year after it.
        assert reference["year"] - (2000 + int(number[:2])) in {0, 1}
    rooms = [ROOT / room for room in ("lawlib", "configs", "docs")]
    files = [path for room in rooms for path in room.rglob("*.*") if path.suffix in {".py", ".md"}]
    quoted = {number for path in files for number in re.findall(r"arXiv:(\d{4}\.\d{5})", path.read_text())}
    assert quoted
    assert quoted <= set(numbers)
