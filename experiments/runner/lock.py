"""One process in a run folder: the kernel's lock on a file, which names its holder for whoever is refused."""

import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

__all__ = ["Holder", "LockRefused", "locked"]

# A file system without locks says one of these.
NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
# A record is about 100 bytes; a damaged file may have any size.
MAX_BYTES = 4096
MAX_PID = 2**31
# Between taking the lock and naming its holder lies a moment: whoever is refused then reads again.
READINGS, PAUSE = 20, 0.05


class LockRefused(Exception):
    """The lock was not taken; the message is one line, to be read after the name of the folder."""


class Holder(NamedTuple):
    """Who holds a lock, and since when (UTC)."""

    pid: int
    host: str
    start: datetime


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock on ``file``, which is created if it is missing, and name this process in it meanwhile.

    The kernel releases the lock of a process that dies, however it dies; a child process does not inherit it.

    Raises:
        LockRefused: Another process holds it, or it cannot be taken on this file system.
    """
    descriptors: list[int] = []

    def sign(descriptor: int) -> None:
        _write(descriptor, Holder(os.getpid(), platform.node(), datetime.now(UTC)))
        descriptors.append(descriptor)

    # Never a soft lock, that is, a file which exists: nobody could tell one of a killed process on another host.
    lock = FileLock(file, blocking=False, fallback_to_soft=False, on_acquired=sign)
    try:
        held = lock.acquire()
    except Timeout as error:
        raise LockRefused(_in_use(file)) from error
    except OSError as error:
        raise LockRefused(_no_lock(file, error)) from error
    owner = os.getpid()
    with held:
        try:
            yield
        finally:
            # A child that was forked in here has no lock to release, and its descriptor may be another file's by now.
            if os.getpid() == owner:
                _erase(*descriptors)


def _write(descriptor: int, holder: Holder) -> None:
    """Write in place, since a lock is lost with its file; a reader who comes too early finds no whole JSON object."""
    record = {**holder._asdict(), "start": holder.start.isoformat(timespec="seconds")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(record).encode() + b"\n", 0)


def _erase(descriptor: int) -> None:
    # A name left behind is read by nobody: not worth an error at the end of a run.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)


def _in_use(file: Path) -> str:
    holder = _holder(file)
    if holder is None:
        return f"is in use by another process (`fuser {file}` finds it); wait for it, or stop it"
    start = f"{holder.start:%Y-%m-%d %H:%M:%S} UTC"
    return f"is in use by process {holder.pid} on host {holder.host} since {start}; wait for it, or stop it"


def _no_lock(file: Path, error: OSError) -> str:
    if error.errno in NO_LOCKS:
        return (
            f"is on a file system without file locks ({error.strerror}), where a second process could write the "
            "same run; choose a --workdir on another one"
        )
    return f"cannot be locked: {file}: {error.strerror or error}"


def _holder(file: Path) -> Holder | None:
    """The holder that the lock file names; None if it names none that lives."""
    for _ in range(READINGS):
        holder = _read(file)
        if holder and (holder.host != platform.node() or _lives(holder.pid)):
            return holder
        time.sleep(PAUSE)
    return None


def _read(file: Path) -> Holder | None:
    try:
        with file.open("rb") as stream:
            found = json.loads(stream.read(MAX_BYTES))
        holder = Holder(found["pid"], found["host"], datetime.fromisoformat(found["start"]).astimezone(UTC))
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
    return holder if type(holder.pid) is int and 0 < holder.pid < MAX_PID and _is_name(holder.host) else None


def _is_name(host: object) -> bool:
    return isinstance(host, str) and host != "" and host.isprintable()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
