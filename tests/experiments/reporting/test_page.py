"""Whole pages, taken apart by Python's own parser: all claims and pictures are there, and nothing from outside."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
from finished_folders import finished, rows
from report_pages import Page, with_pictures

from experiments.reporting import page as of_page
from experiments.reporting.page import page
from experiments.runner import claims
from experiments.runs import load

HOSTILE = "<script>alert(1)</script>\"'&"
# What may load something, or run.
SOURCES = ("src", "srcset", "href", "action", "data", "poster", "style", "formaction", "background")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run with pictures, another of the same experiment with other claims, and the published part of the first."""
    folder = tmp_path_factory.mktemp("runs")
    with_pictures(finished(folder / "first"))
    with_pictures(finished(folder / "second", seed=8, table=rows(bound=1e-20, last="T2.more")), names=("only",))
    kept = shutil.ignore_patterns("results.nc*", "figures")
    shutil.copytree(folder / "first", folder / "published", ignore=kept)
    shutil.copytree(folder / "first" / "figures", folder / "published", dirs_exist_ok=True)
    return folder


def made(folders, *names):
    return Page(page([load(folders / name) for name in names]))


@pytest.fixture(scope="module")
def single(folders):
    return made(folders, "first")


@pytest.fixture(scope="module")
def several(folders):
    return made(folders, "first", "second", "published")


def lines_of(one, label):
    """The cells of each row of the table in the box with this label."""
    (box,) = one.all("div", aria_label=label)
    cells = [[cell.said for cell in one.within(row) if cell.tag in ("td", "th")] for row in one.within(box, "tr")]
    assert len(cells) > 1
    return cells


# Claims. --------------------------------------------------------------------------------------------------------------


def test_every_claim_is_one_row_with_its_numbers(single, folders):
    expected = load(folders / "first").claims
    found = single.all("tr", data_claim=None)
    assert [row.attributes["data-claim"] for row in found] == [claim.id for claim in expected]
    for row, claim in zip(found, expected, strict=True):
        assert row.attributes["data-status"] == claim.status
        cells = [cell.said for cell in single.within(row, "td")]
        assert claim.status.replace("_", " ") in cells[0]
        assert cells[1].startswith(claim.statement)
        assert claim.reason in cells[1]
        assert cells[3] == claims.comparison(claim)
        assert cells[4] == str(claim.members)


def test_the_verdict_comes_first_and_counts_the_claims(single):
    (verdict,) = [box for box in single.all("div") if box.attributes.get("class", "").startswith("verdict")]
    assert verdict.attributes["class"] == "verdict bad"
    assert "1 of 2 laws fails" in verdict.said
    (main,) = single.all("main")
    assert single.within(main)[0].attributes["id"] == "verdict"
    counts = {item.attributes["data-status"]: item.said for item in single.within(verdict, "li", data_status=None)}
    assert counts == {"holds": "1 holds", "fails": "1 fails", "not_run": "1 not run"}
    assert [link.said for link in single.within(verdict, "a")] == ["T1.nan"]
    assert single.all("title")[0].said == "first: 1 holds, 1 fails, 1 not run"


def test_links_lead_to_rows(several):
    ids = [element.attributes["id"] for element in several.all(id=None)]
    assert len(ids) == len(set(ids))
    inner = [link.attributes["href"] for link in several.all("a", href=None) if link.attributes["href"][0] == "#"]
    assert len(inner) > 15
    assert {href[1:] for href in inner} <= set(ids)


def test_a_chart_says_what_it_shows(single):
    (chart,) = single.all("svg", _class="spread")
    assert chart.attributes["aria-label"] == "least 1e-15, median 1.5e-15, most 2e-15; bound < 1e-12; log axis"


def test_several_runs_have_contents_by_paper_and_a_table_by_run(several):
    (contents,) = several.all("nav", _class="papers")
    assert [title.said for title in several.within(contents, "h3")] == ["Yaras et al. 2023"]
    assert [link.said for link in several.within(contents, "a")] == ["first", "second", "published"]
    assert lines_of(several, "Claims by run") == [
        ["run", "hold", "fail", "not run", "what fails or stands"],
        ["first", "1", "1", "1", "T1.nan"],
        ["second", "-", "2", "1", "T1.first, T1.nan"],
        ["published", "1", "1", "1", "T1.nan"],
    ]
    assert several.all("title")[0].said == "3 runs: 2 hold, 4 fail, 3 not run"
    assert len(several.all("tr", data_claim=None)) == 9


def test_claims_that_runs_of_one_experiment_share_are_side_by_side(several, single):
    lines = lines_of(several, "Claims that runs of toy share")
    assert lines[0] == ["id", "first", "second", "published"]
    assert lines[1] == ["T1.first", "holds 2e-15 < 1e-12", "fails 2e-15 < 1e-20", "holds 2e-15 < 1e-12"]
    assert [line[0] for line in lines[1:]] == ["T1.first", "T1.nan", "T1.last"]  # T2.more is of one run alone
    assert lines[3][1:] == ["not run -", "-", "not run -"]
    assert not single.all("div", aria_label="Claims that runs of toy share")


# The rest of the page. ------------------------------------------------------------------------------------------------


def test_pages_are_well_formed_and_need_nothing_from_outside(single, several):
    for one in (single, several):
        assert one.faults == []
        for element in one.elements:
            for name in SOURCES:
                value = element.attributes.get(name) or ""
                assert not re.search(r"(https?:)?//", value.partition("base64,")[0]), (element.tag, name, value[:80])
        for element in one.all("script") + one.all("style"):
            assert not re.search(r"https?:|//[a-z]+\.|url\(|@import", element.said)
        assert not [element for element in one.elements if element.tag in ("iframe", "object", "embed", "base", "form")]
        assert not [name for element in one.elements for name in element.attributes if name.startswith("on")]


def test_every_picture_is_there_with_a_text_and_its_size(single, several, folders):
    pictures = single.all("img")
    files = sorted((folders / "first" / "figures").glob("*.png"))
    assert len(pictures) == len(files) == 2
    for picture, file in zip(pictures, files, strict=True):
        assert base64.b64decode(picture.attributes["src"].removeprefix("data:image/png;base64,")) == file.read_bytes()
        assert (picture.attributes["width"], picture.attributes["height"]) == ("40", "30")
        assert picture.attributes["alt"] == f"Plot of first: {file.stem.replace('_', ' ')}."
    assert len(several.all("img")) == 5
    assert all(picture.attributes["alt"] for picture in several.all("img"))


def test_files_of_the_run_are_handed_on(single, folders):
    links = single.all("a", download=None)
    names = [f"first-{name}.json" for name in ("claims", "summary", "config")]
    assert [link.attributes["download"] for link in links] == names
    for link in links:
        content = base64.b64decode(link.attributes["href"].removeprefix("data:application/json;base64,"))
        assert content == (folders / "first" / link.said).read_bytes()


def test_config_and_provenance_are_told(single):
    config = dict(lines_of(single, "Config of first"))
    known = {"net.depth": "2", "net.init": "orthogonal", "seed": "7", "sweep.opt.step_size": "0.1, 0.2"}
    assert known.items() <= config.items()
    assert "" not in config
    variants = dict(lines_of(single, "Variants of first"))
    assert variants["swept"] == "net.depth = 3, sweep.opt.momentum = 0.0, 0.9"
    (facts,) = [part for part in single.all("dl") if "wall time" in part.said]
    assert "1.0 s compiling, 2.0 s running" in facts.said
    assert "--config=configs/toy.py:smoke --strict --workdir=runs/first" in facts.said


def test_a_published_folder_says_that_it_has_no_curves(folders):
    one = made(folders, "published")
    assert one.curves() == []
    assert len(one.all("img")) == 2
    assert "holds no results" in one.all("section", aria_labelledby="run-1-curves-title")[0].said


def test_equal_folders_give_equal_pages(folders, tmp_path):
    again = shutil.copytree(folders / "first", tmp_path / "first")
    assert page([load(again)]) == page([load(folders / "first")])


def test_texts_of_a_run_are_texts(tmp_path):
    claim = claims.unjudged(
        "not_run", HOSTILE, kind="law", paper=HOSTILE, figure=HOSTILE, statement=HOSTILE, reason=HOSTILE
    )
    variants = ({"name": HOSTILE.replace("/", "-")}, {"name": "other", "net.depth": 3})
    folder = finished(tmp_path / "run", table=(claim,), variants=variants, net={"depth": 2, "init": HOSTILE})
    record = json.loads((folder / "provenance.json").read_bytes())
    (folder / "provenance.json").write_text(
        json.dumps(record | {"device_kind": HOSTILE, "sources": {HOSTILE: HOSTILE}})
    )
    own = with_pictures(folder.rename(tmp_path / "<script>x = 1"), names=("<img src=x>",))
    one = Page(page([load(own)]))
    assert one.faults == []
    assert len(one.all("script")) == 2
    (row,) = one.all("tr", data_claim=None)
    assert row.attributes["data-claim"] == HOSTILE
    assert HOSTILE in one.within(row, "td")[1].said
    assert one.all("h1")[0].said == "<script>x = 1"
    assert any(HOSTILE in part.said for part in one.all("dd"))
    assert HOSTILE.replace("/", "-") in one.curves()[0]["steps"]


# Sizes. ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
def test_a_page_keeps_to_its_bytes_and_says_what_it_leaves_out(folders, monkeypatch, share):
    whole = page([load(folders / "first")])
    (script,) = Page(whole).all("script", type="application/octet-stream")
    room = len(whole.encode()) - round((1 - share) * len(script.said))
    monkeypatch.setattr(of_page, "MOST_BYTES", room)
    text = page([load(folders / "first")])
    assert len(text.encode()) <= room
    one = Page(text)
    drawn = {each["name"] for curves in one.curves() for each in curves["variables"]}
    (note,) = [part.said for part in one.all("section", aria_labelledby="run-1-curves-title")]
    assert 0 < len(drawn) < 8 or "no room for curves" in note
    if drawn:
        said = note.partition("no room for ")[2].partition(".")[0].split(", ")
        assert drawn | set(said) == {each["name"] for each in Page(whole).curves()[0]["variables"]}


def test_where_there_is_no_room_pictures_are_left_out_and_counted(folders, monkeypatch):
    monkeypatch.setattr(of_page, "MOST_BYTES", 0)
    one = made(folders, "first")
    assert one.all("img") == []
    assert "no room for 2 more" in one.all("section", aria_labelledby="run-1-figures-title")[0].said
    assert "no room for curves" in one.all("section", aria_labelledby="run-1-curves-title")[0].said


def test_curves_are_those_of_the_results(single, folders):
    (data,) = single.curves()
    run = load(folders / "first")
    marks = {"converged_at", "diverged_at"}
    assert {each["name"] for each in data["variables"]} == run.variables.keys() - marks
    assert data["steps"] == {"plain": [0, 2, 4], "swept": [0, 2, 4]}
    (curve,) = [
        c for c in data["curves"] if (c["variable"], c["variant"], c["label"]) == ("count", "plain", "step_size = 0.2")
    ]
    values = run.results["plain"]["count"].sel(step_size=0.2).values
    np.testing.assert_allclose(curve["middle"], np.median(values, 0), rtol=1e-3)
    np.testing.assert_allclose(curve["low"], values.min(0), rtol=1e-3)
    np.testing.assert_allclose(curve["high"], values.max(0), rtol=1e-3)
