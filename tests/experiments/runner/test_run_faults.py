"""Faults that a run meets in real processes: it ends with a line, and the same command ends as the undisturbed run."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from liveness import communicate
from small_run import PAUSING, ROOT, SMALL, bytes_of

from experiments.main import main

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

RESUMES = "make room and give the same command again, which resumes the run"
# From the n-th call of a function on, no file may have more bytes than this: a disk that is full at that moment.
FULL = """
import resource, sys
from experiments import main
from experiments.runner import checkpoints, plots, store
before, calls = {place}, []
def limited(*given, **named):
    calls.append(1)
    if len(calls) == {call}:
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    return before(*given, **named)
{place} = limited
sys.exit(main.main(sys.argv[1:]))
"""
CLAIMS = "claims.json"


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of the small run that a test may damage."""
    return shutil.copytree(whole, tmp_path / "finished")


def test_a_run_that_meets_a_full_disk_at_every_stage_and_loses_its_folder_ends_as_the_undisturbed_one(
    whole, shell, tmp_path
):
    folder, away = tmp_path / "run", tmp_path / "away"

    def ends_for_want_of_room(place, *, call, limit, file):
        process = shell.program(FULL.format(place=place, call=call, limit=limit), *SMALL, f"--workdir={folder}")
        _, err = communicate(process)
        assert process.returncode == 75, err
        (line,) = err.splitlines()
        assert line.startswith(f"{folder / file}")
        assert re.fullmatch(rf".*: no room for [\d,]+ bytes \(.*\); {RESUMES}", line)
        assert not list(folder.rglob(".partial-*"))
        assert len(list(folder.glob("checkpoint/*.json"))) > 1 or (folder / "results.nc").exists()

    ends_for_want_of_room("checkpoints._save_carry", call=3, limit=100, file="checkpoint/carry/")
    ends_for_want_of_room("checkpoints.Checkpoints.save", call=4, limit=100, file="checkpoint/pieces/")
    process = shell.program(PAUSING.format(share=0.6), *SMALL, f"--workdir={folder}")
    seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert seen.si_code == os.CLD_STOPPED, process.communicate()
    folder.rename(away)
    process.send_signal(signal.SIGCONT)
    _, err = communicate(process)
    assert (process.returncode, err) == (
        75,
        f"{folder}: was removed or renamed while the run went on; put it back and give the same command again, which "
        "resumes the run\n",
    )
    assert not folder.exists()
    away.rename(folder)
    ends_for_want_of_room("store.RunFolder.write_results", call=1, limit=20_000, file="results.nc")
    assert not (folder / "results.nc").exists()
    ends_for_want_of_room("plots.save", call=2, limit=3000, file="figures/")
    code, _, err = shell.finish(*SMALL, f"--workdir={folder}")
    assert (code, err) == (0, "")
    same = ("results.nc", "results.nc.sha256", "summary.json", "summary.md", "config.json")
    assert {name: (folder / name).read_bytes() for name in same} == {n: (whole / n).read_bytes() for n in same}
    found, wanted = (json.loads((f / CLAIMS).read_text())["claims"] for f in (folder, whole))
    assert found == wanted
    assert bytes_of(folder).keys() == bytes_of(whole).keys()


def test_wrong_settings_and_streams_that_take_nothing_are_a_line_or_none(shell, finished):
    def ends(env, redirected="", *words):
        command = " ".join(["exec", '"$@"', redirected])
        arguments = [sys.executable, "-m", "experiments.main", *SMALL, f"--workdir={finished}", *words]
        process = subprocess.Popen(
            ["sh", "-c", command, "sh", *arguments],
            cwd=ROOT,
            env={**shell.env, **env},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = communicate(process)
        return process.returncode, out, err.splitlines()

    code, out, (line,) = ends({"JAX_PLATFORMS": "abacus"})
    assert (code, out) == (2, "")
    assert line.startswith("JAX cannot start (JAX_PLATFORMS=abacus")
    (finished / CLAIMS).unlink()
    full = "standard output: No space left on device; the run goes on, and what it reports is in its folder"
    assert ends({"MPLBACKEND": "abacus"}, "> /dev/full") == (0, "", [full])
    assert (finished / CLAIMS).exists()
    assert ends({}, ">&- 2>&-", "--strict") == (0, "", [])
    assert ends({}, "2> /dev/full", "--config.net.deph=3") == (2, "", [])


def test_damaged_and_foreign_files_are_named_with_what_can_be_done(finished, whole, capsys, monkeypatch):
    command = [*SMALL, f"--workdir={finished}"]

    def refused(*words):
        before = bytes_of(finished)
        assert main([*command, *words]) == 2
        assert bytes_of(finished) == before
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        return line

    whole_claims = (finished / CLAIMS).read_bytes()
    for torn in (b"", whole_claims[: len(whole_claims) // 2], b"[]", b'{"claims": [{}]}'):
        (finished / CLAIMS).write_bytes(torn)
        line = refused()
        assert line.startswith(f"{finished / CLAIMS}: is damaged (")
        assert line.endswith("; --replot writes it anew")
    (finished / "provenance.json").write_text("{")
    with pytest.warns(UserWarning, match=r"provenance\.json: cannot be read .* unless you restore the file"):
        assert main([*command, "--replot"]) == 0
    found, wanted = (json.loads((f / CLAIMS).read_text())["claims"] for f in (finished, whole))
    assert found == wanted
    capsys.readouterr()
    results = (finished / "results.nc").read_bytes()
    for bad in (b"", results[:1000], results[:-1], results[:2000] + b"x" + results[2001:]):
        (finished / "results.nc").write_bytes(bad)
        line = refused("--replot")
        assert line.startswith(f"{finished / 'results.nc'}: cannot be read, it is cut short or damaged (")
        assert line.endswith("delete the file and give the same command again, without --replot, to compute it anew")
    shutil.rmtree(finished / "figures")
    (finished / "figures").write_text("mine")
    assert refused() == f"{finished / 'figures'}: is a file, and a run needs a folder there; move it"
    (finished / "figures").unlink()
    (finished / "log.jsonl").unlink()
    (finished / "log.jsonl").mkdir()
    assert refused() == f"{finished / 'log.jsonl'}: is a folder, and a run needs a file there; move it"
