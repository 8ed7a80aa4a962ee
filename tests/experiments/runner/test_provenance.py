"""What decides the numbers of a run, as its checkpoints keep it."""

import json
import shutil
import subprocess

import jax
import pytest

from experiments.runner import provenance
from experiments.runner.checkout import SOURCE

PACKAGES = ("lawlib", "experiments")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the sources, outside of any repository."""
    folder = tmp_path_factory.mktemp("sources")
    for name in PACKAGES:
        shutil.copytree(SOURCE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def digest(folder):
    return provenance.source_digest(*(folder / name for name in PACKAGES))


def test_the_digest_of_the_source_needs_no_repository_and_does_not_name_the_folder(sources):
    assert digest(sources) == provenance.source_digest()


@pytest.mark.parametrize(
    "name", ["lawlib/dynamics/system.py", "experiments/__init__.py", "experiments/laws/parsimony/theorem/system.py"]
)
def test_any_change_of_what_computes_changes_the_digest_and_its_undoing_restores_it(sources, name):
    before, file = digest(sources), sources / name
    whole = file.read_bytes()
    file.write_bytes(whole + b"#")
    assert digest(sources) != before
    file.write_bytes(whole)
    file.rename(file.with_name("renamed.py"))
    assert digest(sources) != before
    file.with_name("renamed.py").rename(file)
    assert digest(sources) == before


@pytest.mark.parametrize(
    "name",
    ["laws/collapse/figures.py", "laws/parsimony/theorem/claims.py", "papers/parsimony.py", "export.py", "notes.txt"],
)
def test_what_is_used_after_the_results_are_written_does_not_change_the_digest(sources, name):
    before, file = digest(sources), sources / "experiments" / name
    assert name == "notes.txt" or file.exists()
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b"#")
    assert digest(sources) == before


def test_flags_are_compared_whatever_their_order_and_harmless_ones_not_at_all():
    given = "--xla_a=1  --xla_b --xla_dump_to=/tmp/x --xla_a=2 --xla_force_host_platform_device_count=4"
    assert provenance._flags(given) == {"xla_a": "2", "xla_b": ""}
    assert provenance._flags("--xla_b --xla_a=2") == provenance._flags(given)


def test_paths_in_flags_are_compared_and_not_told():
    here, there = (provenance._flags(f"--xla_gpu_cuda_data_dir=/home/{user}/cuda") for user in ("me", "you"))
    assert here != there
    assert "home" not in str(here)


def test_conditions_are_all_of_the_environment_but_the_commit():
    now = provenance.environment()
    found = provenance.conditions(now, {"digits": "as published"})
    assert now.keys() - found.keys() == {"git_commit", "git_clean"}
    assert found["sources"] == {"digits": "as published"}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "name", ["jax_threefry_partitionable", "jax_random_seed_offset", "jax_disable_most_optimizations"]
)
def test_a_setting_of_jax_is_a_condition(name):
    before, value = provenance.environment(), jax.config.values[name]
    jax.config.update(name, (not value) if isinstance(value, bool) else value + 1)
    try:
        assert provenance.environment()["jax_settings"] != before["jax_settings"]
    finally:
        jax.config.update(name, value)
    assert provenance.environment() == before


def test_the_threads_of_openblas_and_the_model_of_the_cpu_are_conditions(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    now = provenance.environment()
    assert now["environment_variables"]["OPENBLAS_NUM_THREADS"] == "7"
    assert now["processor"]
    assert "\n" not in now["processor"]


def test_git_state(tmp_path):
    assert provenance.git_state(tmp_path) == (None, None)

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    commit, clean = provenance.git_state(tmp_path)
    assert len(commit) == 40
    assert clean
    (tmp_path / "file").write_text("two")
    assert provenance.git_state(tmp_path) == (commit, False)
    (tmp_path / "sub").mkdir()
    assert provenance.git_state(tmp_path / "sub") == (None, None)
