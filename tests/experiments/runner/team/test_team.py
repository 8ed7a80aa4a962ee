"""Several processes that make one run: the same numbers as one process, and an end in a line when one of them dies."""

import json
import os
import platform
import socket

import numpy as np
import pytest
import xarray as xr
from liveness import communicate
from small_run import PAUSING, SMALL

from experiments.runner.store import InputError
from experiments.runner.team.peers import Peers
from experiments.runner.team.supervisor import LOST, VARIABLE
from experiments.runner.team.team import Order, Team, join

# The first variant of the small run, alone.
SHORT = [word for word in SMALL if "variants" not in word] + ["--config.variants=({'name': 'double', 'net.depth': 2},)"]
GONE = "another process of the run has ended or cannot be reached"
# Of degenerate subspaces, angles are rounding.
STABLE = ("loss", "rho", "singular_values", "idle_value", "idle_deviation", "block_deviation", "excess")
AGAIN = "give all of them the same command again, which resumes the run\n"


@pytest.fixture
def started(shell):
    """Starts the short run in two processes; that of the index ``stopping`` stops itself at a share of the work."""
    processes = []

    def start(folder, *, stopping=None, share=0.0, second=(), env=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            peers = ["--distributed", f"--coordinator=127.0.0.1:{free.getsockname()[1]}", "--num-processes=2"]
        for index, more in enumerate(((), second)):
            own = type(shell)()
            own.env = shell.env | (env or {} if index else {})
            command = [*SHORT, *peers, f"--process={index}", f"--workdir={folder}", *more]
            if index == stopping:
                own.env |= {VARIABLE: str(os.getpid())}  # this process is its supervisor
                processes.append(own.program(PAUSING.format(share=share), *command))
            else:
                processes.append(own.start(*command))
        return processes[-2:]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ends(processes):
    return [(process.returncode, *said) for process, said in [(p, communicate(p)) for p in processes]]


def kill_once_stopped(process):
    seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert seen.si_code == os.CLD_STOPPED, process.communicate()
    process.kill()


def groups(folder):
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf", decode_timedelta=False) as tree:
        return {name: node.to_dataset().load() for name, node in tree.children.items()}


def assert_equal_to_rounding(found, wanted):
    assert found.keys() == wanted.keys()
    for name, group in wanted.items():
        assert found[name].data_vars.keys() == group.data_vars.keys()
        for variable in STABLE:
            have, want = found[name][variable].values, group[variable].values
            assert have.dtype == want.dtype
            tol = 100 * np.finfo(want.dtype).eps  # of weights of size 1, from which distances are rounding themselves
            np.testing.assert_allclose(have, want, rtol=tol, atol=tol)
        for variable in ("converged_at", "diverged_at"):
            np.testing.assert_array_equal(found[name][variable].values, group[variable].values)


@pytest.mark.slow
@pytest.mark.reliability
def test_processes_end_when_one_is_killed_and_go_on_to_the_numbers_of_one(started, whole, records, tmp_path):
    folder = tmp_path / "run"
    for killed, share in ((1, 0.2), (0, 0.6)):
        processes = started(folder, stopping=killed, share=share)
        kill_once_stopped(processes[killed])
        code, out, err = ends(processes)[1 - killed]
        assert (code, err) == (75, f"process {1 - killed} of 2: {GONE}; {AGAIN}")
        assert bool(out) == (killed == 1)  # process 0 alone reports how far it is
        assert not (folder / "results.nc").exists()
    (code, out, err), other = ends(started(folder))
    assert (code, err) == (0, "")
    assert f"run folder: {folder}" in " ".join(out.split("\n"))
    assert "Gloo" not in out
    assert other == (0, "", "")
    starts = [start["start"] for start in json.loads((folder / "provenance.json").read_text())["starts"]]
    resumed = [next(line["share"] for line in records(folder) if line["time"] >= begun) for begun in starts[1:]]
    assert 0 < resumed[0] < 0.4 < resumed[1] < 0.8
    assert_equal_to_rounding(groups(folder), {"double": groups(whole)["double"]})


@pytest.mark.slow
@pytest.mark.reliability
def test_processes_under_other_conditions_are_refused_by_the_first_one_for_all(started, tmp_path):
    folder = tmp_path / "run"
    other = {"second": ["--config.seed=5"], "env": {"OPENBLAS_NUM_THREADS": "2"}}
    first, second = ends(started(folder, **other))
    assert first[:2] == (2, "")
    assert second == (2, "", "")
    host = f"process 1 on {platform.node()}: "
    assert first[2].splitlines() == [
        f"{host}config.seed is 5, and 0 in process 0",
        f'{host}environment_variables.OPENBLAS_NUM_THREADS is "2", and "1" in process 0',
        f"{host}give all processes the same command, code, versions and data, on devices of one kind",
    ]
    assert {path.name for path in folder.iterdir()} <= {".lock"}


def test_a_port_that_another_program_listens_on_is_refused_before_anybody_is_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(InputError) as refused:
            join(Peers(address, 2, 0))
    port = address.rpartition(":")[2]
    said = f"process 0 cannot use port {port} of its host (Address already in use); give all processes another one"
    assert refused.value.problems == [f"--coordinator={address}: {said}"]


def test_a_process_alone_is_told_what_it_says_and_sends_nothing():
    team = Team()
    assert team.leads
    assert team.told({"a": [1, None]}) == {"a": [1, None]}
    assert team.all_said("x") == ["x"]
    assert team.begin(Order({"a": 1})) == Order({"a": 1})
    assert team.noted(asked=True, due=False) == (True, False)
    tree, limit = {"x": np.ones(2)}, object()
    assert team.arrays(tree) is tree
    assert team.most_steps(limit) is limit
    assert team.leave(7) == 7
    assert team.through(lambda: 3) == 3
    with pytest.raises(ValueError, match="Gloo"):
        team.through(raising(ValueError("Gloo: connection closed")))
    with pytest.raises(InputError, match="bad"):
        team.agreed(raising(InputError(["bad"])))


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    "error",
    [
        ValueError("UNKNOWN: Gloo AllGather failed: Read error: Connection reset by peer"),
        RuntimeError("NCCL operation ncclAllReduce failed: unhandled system error"),
    ],
)
def test_the_errors_that_tell_of_another_process_are_known(error):
    assert Team(2, 1).through(raising(error)) == LOST


@pytest.mark.parametrize("error", [ValueError("operands could not be broadcast together"), KeyboardInterrupt("gloo")])
def test_other_errors_are_of_this_process(error):
    with pytest.raises(type(error)):
        Team(2, 1).through(raising(error))


def test_other_conditions_are_named_with_both_values():
    with pytest.raises(InputError) as refused:
        Team(2, 1).check_same({"a": 1, "b": {"c": "x"}}, {"a": 1, "b": {"c": "y"}})
    assert refused.value.problems[0] == 'b.c is "y", and "x" in process 0'
    Team(2, 1).check_same({"a": [1]}, {"a": (1,)})
