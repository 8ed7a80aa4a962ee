"""Pages: each config, and each claim that fails or is disputed, is on its paper's page in words; links lead on."""

import re
import shlex
from functools import cache

import pytest
from pages import DOCS, PAPERS, directives, pages, prose, roles, words
from source_tree import ROOT

from experiments import published, summaries
from experiments.papers import PAPERS as STATED
from experiments.runner import catalog
from experiments.runner.claims import STATUSES

# The verdicts that a reader has to find on a page, and those that need a reason in words there.
SHOWN = {"fails", "refuted", "stands", "not_reached"}
WRITTEN = {path.stem: path.read_text() for path in PAPERS.glob("*.md") if path.stem != "index"}
ALL = {str(path.relative_to(DOCS)): path.read_text() for path in pages()}
LINK = re.compile(r"\]\(([^)\s]+)\)")


@cache
def rows(folder):
    return published.claims(folder)


def shown(text):
    """The rows that the tables of a page show, as (folder, id)."""
    found = set()
    for table in directives(text, "claims"):
        folder, *ids = table.words
        chosen = [row for row in published.claims(folder, ids) if not table.statuses or row.status in table.statuses]
        found |= {(folder, row.id) for row in chosen}
    return found


def disputed():
    return [(folder, row) for folder in published.names() for row in rows(folder) if row.status in SHOWN]


def test_every_paper_has_a_page_and_the_index_names_it():
    assert set(WRITTEN) == set(STATED)
    index = (PAPERS / "index.md").read_text()
    assert {table.words[0] for table in directives(index, "configs")} == set(STATED)
    assert [name for name in STATED if f"]({name}.md)" not in index] == []


def test_every_config_is_on_the_page_of_its_paper():
    papers = {paper.name: WRITTEN[module] for module, paper in STATED.items()}
    missing = [each.name for each in catalog.entries(ROOT) if each.name not in roles(papers[each.paper], "config")]
    assert missing == []


def test_every_claim_that_fails_or_is_disputed_is_in_a_table_of_a_page():
    tables = set().union(*map(shown, WRITTEN.values()))
    assert [(folder, row.id) for folder, row in disputed() if (folder, row.id) not in tables] == []


def test_the_page_says_in_words_why():
    """An id outside of every table, alone or of its kind: a claim that is only listed would not be found."""
    said = {name: prose(text) for name, text in WRITTEN.items()}
    for folder, row in disputed():
        module = next(name for name, text in WRITTEN.items() if (folder, row.id) in shown(text))
        kind = row.id.partition("[")[0]
        assert re.search(rf"(?<![\w.]){re.escape(kind)}(?![\w.])", said[module]), f"{module}.md: {row.id}"


def test_the_index_lists_what_fails():
    """Each row once: that of another profile where the row does not fail with the profile cpu."""
    listed = {tuple(text.split(" ", 1)) for text in roles((PAPERS / "index.md").read_text(), "claim")}
    fails = {(folder, row.id) for folder, row in disputed() if row.status == "fails"}
    others = {each.name: each.config for each in published.folders() if each.profile != "cpu"}
    assert listed == {(folder, id) for folder, id in fails if (others.get(folder), id) not in fails}


@pytest.mark.parametrize("page", ALL)
def test_a_page_names_only_what_is_published(page):
    """The build would refuse these as well, in minutes."""
    text = ALL[page]
    for exhibit in directives(text, "exhibit"):
        assert published.picture(*exhibit.words)
    for table in directives(text, "claims"):
        assert set(table.statuses) <= set(STATUSES)
    shown(text)
    for text_of_role in roles(text, "measured"):
        if text_of_role.startswith("summary/"):
            place, *asked = shlex.split(text_of_role)
            assert summaries.number(place.removeprefix("summary/"), *asked)
        elif not text_of_role.startswith("benchmarks/"):
            assert published.measured(*words(text_of_role))
    for claim in roles(text, "claim"):
        assert published.claims(*[part if i == 0 else (part,) for i, part in enumerate(claim.split(" ", 1))])


@pytest.mark.parametrize("page", ALL)
def test_links_lead_to_files_and_headings(page):
    for link in LINK.findall(prose(ALL[page])):
        target, _, anchor = link.partition("#")
        if "://" in target or not target.endswith(".md"):
            continue
        path = (DOCS / page).parent / target
        assert path.exists(), f"{page} leads to {target}"
        assert not anchor or anchor in anchors(path.read_text()), f"{target} has no heading {anchor}"


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}
    return slugs | set(re.findall(r"^\((.+)\)=$", text, re.MULTILINE))
