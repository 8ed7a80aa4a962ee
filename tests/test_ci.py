"""The workflow for GitHub and the hooks for commits check what .ci/run and `make lint` check."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from browsers import PACKAGES
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
PARTS = {"smoke": "test"}  # the fast tests are some of the tests


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load(WORKFLOW.read_text())


@pytest.fixture(scope="module")
def hooks():
    return yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def targets(text):
    """The targets that a shell script makes."""
    return set(re.findall(r"\bmake (\w+)", "\n".join(line for line in text.splitlines() if line.lstrip()[:1] != "#")))


def commands(job):
    return "\n".join(step.get("run", "") for step in job["steps"])


def pythons(job):
    """The versions of Python that a job runs on, one after the other."""
    (version,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    return job["strategy"]["matrix"]["python"] if "matrix.python" in version else [version]


def rules():
    """The recipes of the Makefile by target, with those of one line after the other."""
    found = re.findall(r"^([\w ]+):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {target: recipe for names, recipe in found for target in names.split()}


def pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and line[0] != "#"]


# The workflow ---------------------------------------------------------------------------------------------


def test_the_workflow_makes_what_the_other_ci_makes(workflow):
    everywhere = {target for job in workflow["jobs"].values() for target in targets(commands(job))}
    elsewhere = {PARTS.get(target, target) for target in targets((ROOT / ".ci" / "run").read_text())}
    assert {"test", "lint", "demo"} <= elsewhere
    assert elsewhere | {"wheel"} == everywhere
    assert everywhere <= rules().keys()


def test_what_may_fail_is_only_what_tests_skip_without(workflow):
    steps = [step for job in workflow["jobs"].values() for step in job["steps"] if step.get("continue-on-error")]
    assert all(targets(step["run"]) <= {"weights"} for step in steps)
    assert not any("continue-on-error" in job or "if" in job for job in workflow["jobs"].values())


def test_both_install_the_same_means_to_drive_a_browser():
    scripts = [WORKFLOW.read_text(), (ROOT / ".ci" / "run").read_text()]
    here, there = (sorted(re.findall(r"\b([a-z-]+)@(\d+\.\d+\.\d+)", text)) for text in scripts)
    assert here == there
    assert [name for name, _ in here] == sorted(PACKAGES)


def test_every_job_makes_its_environment_of_the_python_that_it_sets_up(workflow):
    for name, job in workflow["jobs"].items():
        (setup,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
        made = re.findall(r"\bmake \w+(.*)", commands(job))
        assert made, name
        assert all(rest == f" PYTHON=python{setup['python-version']}" for rest in made), name


def test_the_suite_runs_on_the_oldest_python_and_under_every_marker_of_the_constraints(workflow):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = SpecifierSet(project["requires-python"])
    for job in ("test", "wheel"):
        versions = pythons(workflow["jobs"][job])
        assert all(isinstance(version, str) and version in allowed for version in versions)  # 3.10 is a number too
        major, minor = map(int, min(versions, key=lambda version: int(version.split(".")[1])).split("."))
        assert f"{major}.{minor - 1}" not in allowed
        for pin in pinned():
            marker = pin.marker
            assert marker is None or any(marker.evaluate({"python_version": version}) for version in versions), str(pin)


def test_the_workflow_may_only_read_and_ends_what_is_out_of_date(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert "github.ref" in workflow["concurrency"]["group"]
    assert "secrets" not in WORKFLOW.read_text()
    # YAML reads the key `on` as true. A pull request from a fork gets no right to write.
    assert set(workflow[True]) == {"push", "pull_request", "workflow_dispatch"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 120


def test_actions_are_githubs_own_at_a_major_version(workflow):
    for job in workflow["jobs"].values():
        used = {step["uses"]: step.get("with", {}) for step in job["steps"] if "uses" in step}
        assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)
        checkout, setup = used.values()
        assert checkout == {"persist-credentials": False}
        assert setup["cache"] == "pip"
        assert set(setup["cache-dependency-path"].split()) == {"constraints.txt", "pyproject.toml"}


# The hooks ------------------------------------------------------------------------------------------------


def test_the_versions_of_the_hooks_are_those_of_the_constraints(hooks):
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in pinned()}
    mirrors = [repository for repository in hooks if repository["repo"] != "local"]
    assert mirrors
    for repository in mirrors:
        tool = repository["repo"].rpartition("/")[2].removesuffix("-pre-commit")
        assert repository["rev"].removeprefix("v") == versions[tool]


def test_the_hooks_run_what_make_lint_runs(hooks):
    lint = [line.strip().replace("$(RUN)", ".venv/bin/python") for line in rules()["lint"].splitlines()]
    ids = {"ruff check .": "ruff-check", "ruff format --check .": "ruff-format"}
    wanted = [ids.get(line.removeprefix(".venv/bin/python -m "), line) for line in lint]
    assert len(wanted) == 3
    assert [hook.get("entry", hook["id"]) for repository in hooks for hook in repository["hooks"]] == wanted
