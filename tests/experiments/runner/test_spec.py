"""What FILE[:PROFILE] names."""

from pathlib import Path

import pytest

from experiments.runner.spec import default_workdir, published_name, split


@pytest.mark.parametrize(
    ("spec", "file", "workdir", "published"),
    [
        ("configs/a.py", "configs/a.py", "runs/a-cpu", "a"),
        ("configs/a.py:cpu", "configs/a.py", "runs/a-cpu", "a"),
        ("/b/a.py:smoke", "/b/a.py", "runs/a-smoke", "a_smoke"),
        ("b:c/a.py:once", "b:c/a.py", "runs/a-once", "a_once"),
    ],
)
def test_the_file_and_the_folders_of_a_spec(spec, file, workdir, published):
    assert split(spec)[0] == Path(file)
    assert default_workdir(spec) == Path(workdir)
    assert published_name(spec) == published
