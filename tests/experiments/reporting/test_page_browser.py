"""Reports in a real browser, by file://: drawn, quiet, usable by all."""

import shutil

import pytest
from browsers import VIEWS, look, missing
from finished_folders import finished
from report_pages import with_pictures

from experiments.reporting.page import page
from experiments.runs import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A report of one run and a report of two, made up."""
    folder = tmp_path_factory.mktemp("reports")
    one = with_pictures(finished(folder / "one"))
    two = with_pictures(finished(folder / "two", seed=8))
    published = shutil.copytree(one, folder / "published", ignore=shutil.ignore_patterns("results.nc*"))
    for name, runs in {"single": [one], "several": [one, two, published]}.items():
        (folder / f"{name}.html").write_text(page([load(run) for run in runs]), encoding="utf-8")
    return folder


def check(seen):
    """What every page must be."""
    assert seen["pictures"] == []
    assert seen["undrawn"] == []
    assert (seen["asked"], seen["said"]) == ([], [])
    assert seen["sideways"] == 0
    assert seen["violations"] == []
    assert seen["passed"] > 10
    assert seen["unreached"] == []
    assert seen["printed"] > 200
    assert seen["pdf"] > 10_000


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("name", "num_plots"), [("single", 1), ("several", 2)])
def test_a_report_is_drawn_and_usable(reports, name, num_plots, view):
    seen = look(f"file://{reports / name}.html", **VIEWS[view])
    check(seen)
    assert len(seen["plots"]) == num_plots
    assert min(seen["plots"]) > 0
    for first, hovered, pressed in zip(*seen["readings"].values(), strict=True):
        assert first == pressed == "step 4"
        assert hovered == "step 0"
