"""The documentation in a real browser, over http on this machine: quiet, readable on a phone, usable by keyboard.

LAWLIB_DOCS names the folder of the built pages. Without it a few pages are built with the same settings.
"""

import pytest
from browsers import VIEWS, look, missing, served
from docs_project import docs_folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
PAGES = (
    "index",
    "papers/parsimony",
    "gallery/index",
    "benchmarks",
    "contributing",
    "api/lawlib.theory.parsimony",
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(docs_folder(tmp_path_factory)) as place:
        yield place


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_drawn_and_usable(address, name, view):
    seen = look(f"{address}/{name}.html", **VIEWS[view])
    assert seen["title"]
    assert seen["pictures"] == []
    assert (seen["asked"], seen["said"]) == ([], [])
    assert seen["sideways"] == 0
    assert seen["violations"] == []
    assert seen["passed"] > 10
    assert seen["unreached"] == []
    assert seen["printed"] > 50
    assert seen["pdf"] > 10_000
