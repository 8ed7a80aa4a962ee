"""What is published of a run: pictures and tables, and nothing that names a machine or a user."""

import json

import pytest

from experiments.runner.publish import publish
from experiments.runner.store import InputError


@pytest.fixture
def finished(tmp_path):
    """A run folder with every table and two pictures."""
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    for name in ("claims.json", "claims.md", "summary.json", "summary.md", "config.json", "results.nc"):
        (folder / name).write_text(name)
    for name in ("a.png", "a.pdf", "b.png"):
        (folder / "figures" / name).write_text(name)
    start = {"command": ["python", ".../main.py"], "run_s": 1.5, "platform": "cpu"}
    (folder / "provenance.json").write_text(json.dumps({**start, "starts": [start, start]}))
    return folder


def test_tables_and_pictures_replace_those_of_the_run_before(finished, tmp_path):
    target = tmp_path / "figures" / "name"
    target.mkdir(parents=True)
    (target / "old.png").touch()
    publish(finished, target)
    tables = {"claims.json", "claims.md", "summary.json", "summary.md", "config.json", "provenance.json"}
    assert {file.name for file in target.iterdir()} == tables | {"a.png", "b.png"}
    assert (target / "a.png").read_text() == "a.png"
    assert (target / "claims.md").read_text() == "claims.md"
    public = {"run_s": 1.5, "platform": "cpu"}
    assert json.loads((target / "provenance.json").read_text()) == {**public, "starts": [public, public]}


def test_a_run_that_is_not_finished_is_not_published(finished, tmp_path):
    (finished / "summary.md").unlink()
    with pytest.raises(InputError, match=r"has no summary\.md to publish; run it first"):
        publish(finished, tmp_path / "figures")
    assert not (tmp_path / "figures").exists()
