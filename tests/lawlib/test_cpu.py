"""The XLA flags of lawlib: whole where jaxlib needs them, none where an unknown one would end the process."""

import sys
import warnings
from importlib import metadata
from pathlib import Path

import jaxlib.version
import pytest
from liveness import finish, without_settings

from lawlib import cpu

ROOT = Path(__file__).parents[2]
IN_ORDER, RIGHT = (
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
    "--xla_cpu_experimental_ynn_fusion_type=-reduce",
)


@pytest.fixture
def stack(monkeypatch):
    """Pretend another jaxlib and other settings."""

    def of(jaxlib_version, **settings):
        monkeypatch.setattr(metadata, "version", {"jaxlib": jaxlib_version}.__getitem__)
        for name in ("XLA_FLAGS", "JAX_PLATFORMS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    return of


@pytest.mark.parametrize("affected", ["0.9.2", "0.10.0", "0.10.2"])
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", f"{IN_ORDER} {RIGHT}"),
        ("--a", f"--a {IN_ORDER} {RIGHT}"),
        (RIGHT, f"{RIGHT} {IN_ORDER}"),
        ("--xla_cpu_enable_concurrency_optimized_scheduler=true", f"{IN_ORDER.replace('false', 'true')} {RIGHT}"),
    ],
)
def test_an_affected_jaxlib_gets_what_is_missing_beside_what_is_set(stack, affected, given, wanted):
    stack(affected, XLA_FLAGS=given)
    assert cpu.cpu_flags() == wanted


@pytest.mark.parametrize("mended", ["0.11.0", "0.11rc1", "0.12.0.1", "0.12.0.dev20261101", "1.0.0", "1"])
@pytest.mark.parametrize("given", ["", "--a"])
def test_a_mended_jaxlib_gets_no_flag(stack, mended, given):
    stack(mended, XLA_FLAGS=given)
    assert cpu.cpu_flags() == given
    with warnings.catch_warnings(record=True) as said:
        cpu.warn_if_affected()
    assert not said


@pytest.mark.parametrize(
    "settings", [{}, {"XLA_FLAGS": IN_ORDER}, {"JAX_PLATFORMS": "cuda,cpu"}, {"JAX_PLATFORMS": ""}]
)
def test_an_affected_jaxlib_without_flags_is_warned_of_in_two_lines(stack, settings):
    stack("0.10.2", **settings)
    with pytest.warns(UserWarning, match=r"jaxlib 0\.10\.2 .*\n.*lawlib\.cpu_flags\(\)") as said:
        cpu.warn_if_affected()
    assert len(said) == 1
    assert str(said[0].message).count("\n") == 1


@pytest.mark.parametrize("settings", [{"XLA_FLAGS": f"{IN_ORDER} {RIGHT}"}, {"JAX_PLATFORMS": "cuda"}])
def test_who_has_the_flags_or_no_cpu_is_not_warned(stack, settings):
    stack("0.10.2", **settings)
    with warnings.catch_warnings(record=True) as said:
        cpu.warn_if_affected()
    assert not said


def test_the_mend_that_the_warning_names_mends():
    """Its shell command, run as it stands, leaves an environment in which importing lawlib warns of nothing."""
    first = finish([sys.executable, "-c", "import lawlib, jax; print(jax.numpy.ones(3).sum())"], env=alone(), cwd=ROOT)
    assert first.stdout.strip() == "3.0", first.stderr
    assert ("UserWarning" in first.stderr) == cpu.is_affected()
    if cpu.is_affected():
        command = first.stderr.splitlines()[1].split("Python starts: ")[1].replace("python", sys.executable, 1)
        again = f"{command} && {sys.executable} -W error -c 'import lawlib, jax; print(jax.numpy.ones(3).sum())'"
        second = finish(["bash", "-c", again], env=alone(), cwd=ROOT)
        assert (second.stdout.strip(), second.stderr) == ("3.0", "")


def test_the_version_is_that_of_the_jaxlib_that_runs():
    assert cpu.is_affected() == (jaxlib.version.__version_info__ < (0, 11))


def alone():
    return without_settings() | {"PYTHONPATH": str(ROOT)}
