"""VGG-16 with the images of a batch divided over devices, in the runner's own program."""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from liveness import finish, without_settings

ROOT = Path(__file__).parents[5]
COLLECTIVES = r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("


class Found(NamedTuple):
    """Arrays by case and name, what the run folder says, and the collectives of each compiled program of a sweep."""

    arrays: dict
    said: dict
    programs: list


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process of four simulated devices finds; it compiles everything itself, to be seen."""
    folder = tmp_path_factory.mktemp("devices")
    dump = f"--xla_dump_to={folder}/dump --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_chunk"
    environment = without_settings() | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=4 {dump}",
        "PYTHONPATH": f"{ROOT / 'tests' / 'support'}:{ROOT}",
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    child = finish([sys.executable, "-m", "tests.support.vgg_devices", str(folder)], cwd=ROOT, env=environment)
    assert child.returncode == 0, child.stderr
    programs = sorted(folder.glob("dump/*.cpu_after_optimizations.txt"))
    collectives = [re.findall(COLLECTIVES, path.read_text()) for path in programs]
    said = json.loads((folder / "said.json").read_text())
    return Found(dict(np.load(folder / "found.npz")), said, collectives)


@pytest.mark.parametrize(
    ("divided", "whole"),
    [("four for a member", "one device"), ("two each", "one each"), ("four for two side by side", "one each")],
)
def test_a_member_on_several_devices_is_what_it_is_on_one(found, divided, whole, tol):
    names = [name.removeprefix(f"{whole}: ") for name in found.arrays if name.startswith(f"{whole}: ")]
    assert len(names) > 10
    for name in names:
        one, several = (found.arrays[f"{case}: {name}"] for case in (whole, divided))
        assert one.dtype == several.dtype
        np.testing.assert_allclose(several, one, rtol=0, atol=tol(one, 1000) * np.max(np.abs(np.nan_to_num(one))))
    losses = found.arrays[f"{whole}: train_loss"]
    assert np.all(np.abs(losses[:, -1] - losses[:, 0]) > 1e-3)


def test_an_epoch_has_one_all_reduce_in_its_loop_and_no_other_collective(found):
    """Of the sweeps, and of the run, each program that steps a divided member has one; the others have none."""
    assert sorted(found.programs) == [*[[]] * (len(found.programs) - 4), *[["all-reduce"]] * 4]
    assert len(found.programs) == 12


def test_the_division_is_in_the_provenance_and_a_run_resumes_with_no_other(found):
    (start,) = found.said["provenance"]["starts"]
    assert start["sample_devices"] == {"silu_full": 4}
    (line,) = found.said["refused"]
    assert line.endswith("made by another config: run.sample_devices: folder has 4, this run wants 2")
