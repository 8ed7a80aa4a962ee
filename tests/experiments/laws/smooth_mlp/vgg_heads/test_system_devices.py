"""VGG-16 with the images of a batch divided over devices, in the runner's own program."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from liveness import finish, without_settings
from tiny_vgg import config_of, install

from experiments.laws.smooth_mlp.vgg_heads import EXPERIMENT
from experiments.runner.provenance import conditions
from experiments.runner.run import environment_of
from experiments.runner.settings import to_plain
from experiments.runner.store import InputError, open_run

ROOT = Path(__file__).parents[5]
COLLECTIVES = r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
DIVIDED = "four for the first", "two each", "four for two side by side"
# It compiles everything itself, to be seen, and quickly.
FLAGS = (
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_chunk"
)


class Found(NamedTuple):
    """Arrays by case and name, and the collectives of each compiled program of the sweeps."""

    arrays: dict
    programs: list


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process of four simulated devices finds."""
    folder = tmp_path_factory.mktemp("devices")
    environment = without_settings() | {
        "XLA_FLAGS": f"{FLAGS} --xla_dump_to={folder}",
        "PYTHONPATH": f"{ROOT / 'tests' / 'support'}:{ROOT}",
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "tests.support.vgg_devices", str(folder / "found.npz")]
    child = finish(command, cwd=ROOT, env=environment)
    assert child.returncode == 0, child.stderr
    programs = folder.glob("*.cpu_after_optimizations.txt")
    return Found(dict(np.load(folder / "found.npz")), [re.findall(COLLECTIVES, path.read_text()) for path in programs])


@pytest.mark.slow
@pytest.mark.parametrize("case", DIVIDED)
def test_a_member_on_several_devices_is_what_it_is_on_one(found, case, tol):
    names = [name.removeprefix(f"{case}: ") for name in found.arrays if name.startswith(f"{case}: ")]
    assert len(names) > 10
    for name in names:
        several = found.arrays[f"{case}: {name}"]
        one = found.arrays[f"one each: {name}"][: len(several)]
        assert one.dtype == several.dtype
        np.testing.assert_allclose(several, one, rtol=0, atol=tol(one, 1000) * np.max(np.abs(np.nan_to_num(one))))
    losses = found.arrays[f"{case}: train_loss"]
    assert np.all(losses[:, -1] < losses[:, 0] - 0.01)


@pytest.mark.slow
def test_an_epoch_has_one_all_reduce_in_its_loop_and_no_other_collective(found):
    """Of each case two programs: one begins, and one makes the steps and observes."""
    assert sorted(found.programs) == [*[[]] * (len(DIVIDED) + 2), *[["all-reduce"]] * len(DIVIDED)]


def test_the_division_is_a_condition_of_a_run():
    devices = {4: {"sample_devices": {"silu_full": 4}}, 1: {}}
    for count, recorded in devices.items():
        config = config_of("name=silu_full", f"run.sample_devices={count}")
        found = conditions(environment_of(config, EXPERIMENT), {})
        assert {name: value for name, value in found.items() if name == "sample_devices"} == recorded


def test_a_run_is_not_resumed_with_another_division(tmp_path):
    begun, other = (to_plain(config_of("name=silu_full", f"run.sample_devices={count}")) for count in (4, 2))
    with open_run(tmp_path / "run", begun):
        pass
    with pytest.raises(InputError, match=r"run\.sample_devices: folder has 4, this run wants 2"):
        open_run(tmp_path / "run", other).__enter__()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    install(monkeypatch.setattr, monkeypatch.setitem)
