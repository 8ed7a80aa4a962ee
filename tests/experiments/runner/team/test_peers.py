"""How the processes of a distributed run are told of each other: what cannot work is one line."""

import pytest

from experiments.main import main
from experiments.runner.command import command_line
from experiments.runner.team.peers import Peers, found, problems

GIVEN = ("--distributed", "--coordinator=10.0.0.1:1234", "--num-processes=4", "--process=3")


def options(*words):
    return command_line().parse_args(["--config=x.py", *words])


def test_options_and_variables_name_the_same():
    given = options(*GIVEN)
    assert problems(given, {}) == []
    assert found(given, {}) == Peers("10.0.0.1:1234", 4, 3)
    variables = {"JAX_COORDINATOR_ADDRESS": "[::1]:80", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}
    assert problems(options("--distributed"), variables) == []
    assert found(options("--distributed"), variables) == Peers("[::1]:80", 2, 0)
    assert found(options("--distributed", "--process=1"), variables).process == 1


def test_where_nothing_is_given_jax_finds_the_cluster_and_alone_nothing_is_asked():
    assert problems(options("--distributed"), {}) == []
    assert found(options("--distributed"), {}) == Peers()
    assert problems(options(), {"JAX_NUM_PROCESSES": "x"}) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--process=0",), "--process is of --distributed; give that too, or leave it out"),
        (("--distributed", "--replot"), "--replot needs one process: leave out --distributed"),
        (("--distributed", "--show"), "--show needs one process: leave out --distributed"),
        (
            GIVEN[:3],
            "--distributed: --process (or JAX_PROCESS_ID) missing; give all three, or none where JAX finds the cluster",
        ),
        ((*GIVEN, "--process=4"), "--process=4: must be the index of this process, 0 to 3"),
        ((*GIVEN, "--process=-1"), "--process=-1: must be the index of this process, 0 to 3"),
        ((*GIVEN, "--num-processes=0"), "--num-processes=0: must be the number of processes, at least 1"),
        *(
            (
                (*GIVEN, f"--coordinator={bad}"),
                f"--coordinator={bad}: must be HOST:PORT, an address of process 0 and a free port of its host",
            )
            for bad in ("host", ":80", "host:0", "host:65536", "a b:80", "host:80:90")
        ),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(words, line, capsys, monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    assert problems(options(*words), {}) == [line]
    assert main(["--config=x.py", *words]) == 2
    assert capsys.readouterr().err == f"{line}\n"
