import errno
import fcntl
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from experiments.runner import lock, store
from experiments.runner.checkout import SOURCE
from experiments.runner.lock import LockRefused, locked

# Takes the lock on each file that it is told of, says how that went, and releases it at the next line.
CONTENDER = """
import sys
from pathlib import Path
from experiments.runner.lock import LockRefused, locked
print("ready", flush=True)
for line in sys.stdin:
    try:
        with locked(Path(line.rstrip("\\n"))):
            print("held", flush=True)
            sys.stdin.readline()
    except LockRefused as refused:
        print(refused, flush=True)
        sys.stdin.readline()
    print("released", flush=True)
"""

# Holds the lock on a file and has a child that lives on: by fork, or by exec.
PARENT = """
import os, signal, subprocess, sys
from pathlib import Path
from experiments.runner.lock import locked
with locked(Path(sys.argv[1])):
    if sys.argv[2] == "exec":
        print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
    elif not os.fork():
        # Said by the child: a moment ago, before it ran at all, it did hold the lock.
        print(os.getpid(), flush=True)
    signal.pause()
"""

# Its child leaves the block as the parent does, with a file of its own where the lock's descriptor was.
UNWINDING = """
import os, sys
from pathlib import Path
from experiments.runner.lock import locked
file = Path(sys.argv[1])
with locked(file):
    own, child = os.dup(1), os.fork()
    if not child:
        others = [os.open(sys.argv[2], os.O_RDWR) for _ in range(8)]
    else:
        os.waitpid(child, 0)
        print(file.read_text(), flush=True)
"""


@pytest.fixture
def start():
    """Starts Python programs, and ends them with the test."""
    processes = []

    def program(source, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", source, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=SOURCE,
        )
        processes.append(process)
        return process

    yield program
    for process in processes:
        process.kill()
        process.communicate()


def tell(process, line):
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process):
    return process.stdout.readline().rstrip("\n")


def refusal(file):
    with pytest.raises(LockRefused) as refused, locked(file):
        pass
    (line,) = str(refused.value).splitlines()
    return line


def record(pid, host=None, start="2026-11-29T08:00:00+00:00"):
    return json.dumps({"pid": pid, "host": platform.node() if host is None else host, "start": start})


def named(pid, host, start):
    return f"is in use by process {pid} on host {host} since {start} UTC; wait for it, or stop it"


def unnamed(file):
    return f"is in use by another process (`fuser {file}` finds it); wait for it, or stop it"


@pytest.fixture
def dead(start):
    """The number of a process that was killed."""
    process = start("")
    process.wait()
    return process.pid


@contextmanager
def held(file, content=""):
    """The bare lock, with this content in its file."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with file.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


# Who holds it ---------------------------------------------------------------------------------------------


def test_who_is_refused_reads_who_holds_it_and_a_killed_holder_holds_nothing(tmp_path, start):
    file = tmp_path / "lock"
    process = start(CONTENDER)
    before = datetime.now(UTC).replace(microsecond=0)
    tell(process, file)
    assert [hear(process), hear(process)] == ["ready", "held"]
    content = file.read_bytes()
    line = refusal(file)
    since = re.fullmatch(re.escape(named(process.pid, platform.node(), "SINCE")).replace("SINCE", "(.*)"), line)
    assert before <= datetime.fromisoformat(f"{since[1]}+00:00") <= before + timedelta(minutes=5)
    assert file.read_bytes() == content
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert file.read_bytes() == content
    with locked(file):
        assert json.loads(file.read_bytes())["pid"] == os.getpid()
        assert f"process {os.getpid()} " in refusal(file)


def test_a_released_lock_names_nobody(tmp_path):
    file = tmp_path / "lock"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), locked(file):  # noqa: PT012
            assert platform.node() in file.read_text()
            raise KeyboardInterrupt
        assert file.read_bytes() == b""


def test_the_name_of_the_host_stands_in_the_lock_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "grandmother")
    with store.open_run(tmp_path, {"experiment": "toy"}) as run:
        run.record_start(["python"])
        run.log({"event": "segment"})
        run.record_end(compile_s=0.0, run_s=0.0)
        naming = {path.name for path in tmp_path.rglob("*") if b"grandmother" in path.read_bytes()}
        assert naming == {store.LOCK}
    assert not [path.name for path in tmp_path.rglob("*") if b"grandmother" in path.read_bytes()]


def test_of_processes_that_start_together_one_wins_and_the_others_name_it(tmp_path, start, dead):
    processes = [start(CONTENDER) for _ in range(6)]
    assert [hear(process) for process in processes] == ["ready"] * 6
    for turn in range(20):
        file = tmp_path / f"lock{turn}"
        if turn % 2:  # left by a process that was killed: nobody may be told to wait for that one
            file.write_text(record(dead))
        for process in processes:
            tell(process, file)
        said = [hear(process) for process in processes]
        (winner,) = [process.pid for process, line in zip(processes, said, strict=True) if line == "held"]
        assert sum(f"is in use by process {winner} on host {platform.node()} since " in line for line in said) == 5
        for process in processes:
            tell(process, "release")
        assert [hear(process) for process in processes] == ["released"] * 6


@pytest.mark.parametrize(
    "content",
    [
        "",
        record(1)[:-1],
        record(1)[:20],
        b"\xff\x00",
        "[]",
        "{}",
        "7",
        "[" * 10**5,
        record(1) + "{",
        record(1, start=8),
        record(1, start="yesterday"),
        record(1, start="0001-01-01T00:00:00+23:59"),
        record(1, host=3),
        record(1, host=""),
        record(1, host="two\nlines"),
        record(1, host="\x1b[31mred"),
        *map(record, ["1", 1.0, True, None, 0, -1, 2**31, 10**300]),
    ],
    ids=repr,
)
def test_a_lock_whose_holder_cannot_be_read_is_refused_all_the_same(tmp_path, monkeypatch, content):
    monkeypatch.setattr(lock, "PAUSE", 0)
    file = tmp_path / "lock"
    with held(file, content):
        assert refusal(file) == unnamed(file)


def test_a_record_of_another_host_is_believed_and_one_of_a_dead_process_is_not(tmp_path, monkeypatch, dead):
    monkeypatch.setattr(lock, "PAUSE", 0)
    file = tmp_path / "lock"
    with held(file, record(dead)):
        assert refusal(file) == unnamed(file)
    with held(file, record(dead, host="elsewhere")):
        assert refusal(file) == named(dead, "elsewhere", "2026-11-29 08:00:00")
    with held(file, record(os.getpid(), start="2026-11-29T10:00:00+02:00")):
        assert refusal(file) == named(os.getpid(), platform.node(), "2026-11-29 08:00:00")


@pytest.mark.parametrize("before", [b"", b'{"pid": 1', None], ids=["empty", "half", "dead"])
def test_a_record_that_is_being_written_is_waited_for(tmp_path, monkeypatch, dead, before):
    file = tmp_path / "lock"
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            file.write_text(record(os.getpid()))

    monkeypatch.setattr(time, "sleep", pause)
    with held(file, record(dead) if before is None else before):
        assert refusal(file) == named(os.getpid(), platform.node(), "2026-11-29 08:00:00")
    assert len(pauses) == 3


# Children -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["fork", "exec"])
def test_a_child_that_outlives_its_parent_does_not_hold_the_lock(tmp_path, start, way):
    file = tmp_path / "lock"
    parent = start(PARENT, file, way)
    child = int(hear(parent))
    try:
        assert f"process {parent.pid} " in refusal(file)
        parent.kill()
        parent.wait()
        os.kill(child, 0)
        with locked(file):
            assert json.loads(file.read_bytes())["pid"] == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_leaves_the_block_releases_and_erases_nothing(tmp_path, start):
    file, other = tmp_path / "lock", tmp_path / "other"
    other.write_text("a file of the child")
    parent = start(UNWINDING, file, other)
    assert json.loads(hear(parent))["pid"] == parent.pid
    assert parent.wait() == 0
    assert other.read_text() == "a file of the child"


# What cannot be locked ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, code):
    def no_lock(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    file = tmp_path / "lock"
    assert refusal(file) == (
        f"is on a file system without file locks ({os.strerror(code)}), where a second process could write the "
        "same run; choose a --workdir on another one"
    )
    assert file.read_bytes() == b""


def test_a_full_disk_is_refused_and_not_left_locked(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "lock"
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert refusal(file) == f"cannot be locked: {file}: No space left on device"
    with locked(file):
        pass


def test_what_is_no_file_is_refused_and_untouched(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    for name, reason in (("folder", "Is a directory"), ("link", "Too many levels of symbolic links")):
        assert refusal(tmp_path / name) == f"cannot be locked: {tmp_path / name}: {reason}"
    assert (tmp_path / "mine").read_text() == "mine"
    assert not list((tmp_path / "folder").iterdir())
