"""Members on the devices of four processes give what they give on one device of one."""

import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from liveness import communicate, without_settings
from sweep_devices import TIMES, mesh_of, shared_by_all
from sweep_processes import SPECIAL, swept

from lawlib.dynamics.placement import gathered, placed
from lawlib.dynamics.sweep import plan, sweep

ROOT = Path(__file__).parents[3]
COUNT = 4


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of four processes of two devices finds."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "tests.support.sweep_processes", str(folder), address, str(COUNT)]
    path = f"{ROOT / 'tests' / 'support'}:{ROOT}"
    environment = without_settings() | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": path}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(index)], cwd=ROOT, env=environment, **pipes) for index in range(COUNT)]
    try:
        said = [communicate(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * COUNT, said
    return [dict(np.load(folder / f"{index}.npz", allow_pickle=True)) for index in range(COUNT)]


@pytest.mark.slow
def test_draws_are_equal_bit_for_bit_on_four_processes_and_results_to_rounding(found, tol):
    system = (*swept(), shared_by_all())
    cut = plan(*system, len(TIMES), on_cpu=True)
    (alone,) = sweep(*system, TIMES, plan=cut._replace(segment=len(TIMES)), mesh=mesh_of(1))
    for process in found:
        for name in ("draw", "fresh", "t"):
            np.testing.assert_array_equal(process[name], alone.observations[name])
        expected = alone.observations["x"]
        np.testing.assert_allclose(process["x"], expected, rtol=0, atol=tol(expected, 1000))
        np.testing.assert_array_equal(process["x"], found[0]["x"])
    assert len(np.unique(expected[:, -1, 0])) == 11


@pytest.mark.slow
def test_what_one_process_says_all_know_to_the_bit(found):
    for process in found:
        assert process["special"].tobytes() == SPECIAL.tobytes()
        assert [said["index"] for said in process["said"]] == [0, 1, 2, 3]
        assert [len(said["long"]) for said in process["said"]] == [0, 10, 20, 30]
        assert process["noted"].tolist() == [True, False]  # any may ask to stop, and the first decides what is due
        assert process["limits"].tolist() == [7, 0]


def test_in_one_process_arrays_are_put_as_jax_puts_them_and_nothing_is_gathered():
    tree = {"key": jax.random.key(1), "x": jnp.arange(3.0), "host": np.ones(2), "number": 2.0}
    assert all(x is y for x, y in zip(jax.tree.leaves(gathered(tree)), jax.tree.leaves(tree), strict=True))
    everywhere = NamedSharding(mesh_of(1), P())
    put = placed(tree, everywhere)
    assert all(x.sharding == everywhere for x in jax.tree.leaves(put))
    assert (put["key"] == tree["key"]).all()
    assert np.array_equal(put["x"], tree["x"])
