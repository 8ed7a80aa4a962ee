"""What is published of a run: pictures and tables, nothing that names a machine, and no picture twice for no reason."""

import hashlib
import io
import json
import re

import pytest
from PIL import Image

from experiments.runner import publish as module
from experiments.runner.publish import publish
from experiments.runner.store import InputError

TABLES = {"claims.json", "claims.md", "summary.json", "summary.md", "config.json"}
RECORD = "provenance.json"


def picture(shade, mode="P"):
    """The bytes of a PNG that is all of one shade."""
    file = io.BytesIO()
    Image.new("L", (4, 4), shade).convert(mode).save(file, format="png")
    return file.getvalue()


FIRST, SECOND = picture(10), picture(20)


@pytest.fixture
def finished(tmp_path):
    """A run folder with every table and two pictures."""
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    for name in (*TABLES, "results.nc"):
        (folder / name).write_text(json.dumps(name) if name.endswith(".json") else name)
    for name in ("a.png", "b.png"):
        (folder / "figures" / name).write_bytes(FIRST)
    (folder / "figures" / "a.pdf").touch()
    start = {"command": ["python", ".../main.py"], "run_s": 1.5, "platform": "cpu"}
    (folder / RECORD).write_text(json.dumps({**start, "run_s": 2.5, "starts": [start | {"run_s": 1.0}, start]}))
    return folder


@pytest.fixture
def target(tmp_path):
    return tmp_path / "figures" / "name"


def redraw(finished, **pictures):
    """Draw other pictures in place of those of the run."""
    for old in (finished / "figures").glob("*.png"):
        old.unlink()
    for name, data in pictures.items():
        (finished / "figures" / f"{name}.png").write_bytes(data)


def published(target):
    return {file.stem: file.read_bytes() for file in target.glob("*.png")}


def test_tables_and_pictures_replace_those_of_the_run_before(finished, target):
    target.mkdir(parents=True)
    (target / "old.png").touch()
    (target / "a.png").write_bytes(SECOND)
    publish(finished, target)
    assert {file.name for file in target.iterdir()} == TABLES | {RECORD, "a.png", "b.png"}
    assert published(target) == {"a": FIRST, "b": FIRST}
    assert (target / "claims.md").read_text() == "claims.md"
    public = {"run_s": 2.5, "platform": "cpu"}
    seen = {"results_sha256": hashlib.sha256(b"results.nc").hexdigest()}
    assert json.loads((target / RECORD).read_text()) == {**public, "starts": [{"run_s": 1.0}, {"run_s": 1.5}], **seen}


def test_pictures_of_the_same_results_are_kept_and_tables_are_not(finished, target):
    publish(finished, target)
    redraw(finished, a=FIRST, b=SECOND)
    (finished / "claims.md").write_text("judged again")
    with pytest.warns(UserWarning, match=r"name: kept b\.png, which show the same results .* delete the old one"):
        publish(finished, target)
    assert published(target) == {"a": FIRST, "b": FIRST}
    assert (target / "claims.md").read_text() == "judged again"


def test_equal_pictures_of_the_same_results_are_nothing_to_warn_of(finished, target, recwarn):
    publish(finished, target)
    publish(finished, target)
    assert not recwarn.list


def test_pictures_of_other_results_are_replaced(finished, target):
    publish(finished, target)
    redraw(finished, a=SECOND, b=FIRST)
    (finished / "results.nc").write_text("other results")
    publish(finished, target)
    assert published(target) == {"a": SECOND, "b": FIRST}
    publish(finished, target)
    assert published(target) == {"a": SECOND, "b": FIRST}


def test_of_the_same_results_new_pictures_are_added_and_those_no_longer_drawn_removed(finished, target):
    publish(finished, target)
    redraw(finished, b=FIRST, c=SECOND)
    publish(finished, target)
    assert published(target) == {"b": FIRST, "c": SECOND}


def test_a_new_drawing_is_published_once_the_old_one_is_deleted(finished, target):
    publish(finished, target)
    redraw(finished, a=SECOND, b=FIRST)
    (target / "a.png").unlink()
    publish(finished, target)
    assert published(target) == {"a": SECOND, "b": FIRST}


@pytest.mark.parametrize("record", ["{}", "[]", "{", '{"results_sha256": null}'])
def test_pictures_of_results_that_nobody_recorded_are_replaced(finished, target, record):
    publish(finished, target)
    (target / RECORD).write_text(record)
    redraw(finished, a=SECOND)
    publish(finished, target)
    assert published(target) == {"a": SECOND}


def test_a_publication_that_is_cut_short_does_not_pass_for_the_results_before(finished, target, monkeypatch):
    publish(finished, target)
    redraw(finished, a=SECOND, b=FIRST)
    (finished / "results.nc").write_text("other results")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(finished, target)
    redraw(finished, a=FIRST, b=FIRST)
    (finished / "results.nc").write_text("results.nc")
    publish(finished, target)
    assert published(target) == {"a": FIRST, "b": FIRST}


@pytest.mark.parametrize("name", ["summary.md", "results.nc", RECORD])
def test_a_run_that_is_not_finished_is_not_published(finished, target, name):
    (finished / name).unlink()
    with pytest.raises(InputError, match=rf"has no {name} to publish; run it first"):
        publish(finished, target)
    assert not target.exists()


@pytest.mark.parametrize("record", ["{", "[]", '{"starts": 3}', '{"starts": ["x"]}', "\udcff"])
def test_a_run_whose_provenance_is_damaged_is_not_published(finished, target, record):
    (finished / RECORD).write_bytes(record.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"provenance\.json: is not the record of a run"):
        publish(finished, target)
    assert not target.exists()


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("summary.json", "{", r"summary\.json: is damaged .*; nothing was published, --replot writes it anew"),
        ("claims.json", "", r"claims\.json: is damaged .*; nothing was published, --replot writes it anew"),
        ("results.nc", "", r"results\.nc: it is empty; nothing was published: delete it and run again"),
        ("results.nc.sha256", f"{'0' * 64}  results.nc", r"results\.nc: its SHA-256 is not the one in results"),
    ],
)
def test_a_run_with_a_damaged_file_is_not_published(finished, target, name, content, said):
    (finished / name).write_text(content)
    with pytest.raises(InputError, match=said):
        publish(finished, target)
    assert not target.exists()


def test_pictures_that_are_lost_do_not_remove_those_that_are_published(finished, target):
    publish(finished, target)
    published = {file.name for file in target.glob("*.png")}
    assert published
    redraw(finished)
    with pytest.raises(InputError, match=r"figures: holds no picture; --replot draws them"):
        publish(finished, target)
    assert {file.name for file in target.glob("*.png")} == published


def test_all_pictures_that_cannot_be_published_are_named_at_once(finished, target):
    redraw(
        finished,
        a=picture(1, "RGB"),
        b=b"",
        c=FIRST + bytes(module.LARGEST_PICTURE),
        d=FIRST,
        e=FIRST[:-20],
        f=b"x" * 25 + b"\x03",
    )
    with pytest.raises(InputError) as refused:
        publish(finished, target)
    without, *damaged, large = sorted(refused.value.problems, key=lambda line: ("palette" not in line, "bytes" in line))
    assert without.endswith("a.png: is not a PNG with a palette; --replot draws it again")
    assert [re.sub(r"\(.*\)", "()", line.partition("figures/")[2]) for line in damaged] == [
        f"{name}.png: is not a whole PNG (); --replot draws it again" for name in "bef"
    ]
    assert large.endswith(f"c.png: has {len(FIRST) + 200_000:,} bytes, and 200,000 are allowed; draw it smaller")
    assert not target.exists()


LARGE = {"num_seeds": 100, "observe": {"num_times": 51}, "net": {"depth": 3}, "opt": {"num_steps": 9, "step_size": 0.1}}


@pytest.mark.parametrize(
    ("small", "pictures"),
    [
        (LARGE | {"num_seeds": 10, "hash": "other"}, set()),
        (LARGE | {"observe": {"num_times": 11}}, set()),
        (LARGE | {"opt": {"num_steps": 5, "step_size": 0.1}}, set()),
        (LARGE | {"opt": {"num_steps": 9, "step_size": 0.2}}, {"a", "b"}),
        (LARGE | {"net": {"depth": 2}}, {"a", "b"}),
        (None, {"a", "b"}),
    ],
)
def test_pictures_that_show_the_same_with_more_seeds_or_steps_are_not_published(finished, target, small, pictures):
    (finished / "config.json").write_text(json.dumps(LARGE))
    beside = target.with_name("small")
    beside.mkdir(parents=True)
    if small:
        (beside / "config.json").write_text(json.dumps(small))
    publish(finished, target, beside)
    assert published(target).keys() == pictures
    assert json.loads((target / "config.json").read_bytes()) == LARGE


def test_a_run_is_not_compared_with_itself(finished, target):
    (finished / "config.json").write_text(json.dumps(LARGE))
    publish(finished, target, target)
    publish(finished, target, target)
    assert published(target).keys() == {"a", "b"}
