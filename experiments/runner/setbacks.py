"""What ends a run from outside: a full disk, a folder that is moved away. One line, exit code 75, and nothing is lost.

The same command resumes the run once there is room, or the folder is back.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["STOPPED", "Setback", "disk_full", "ending_where_disk_is_full", "is_full"]

STOPPED = 75
# The device is full, the user's quota is, or a file is larger than `ulimit -f` allows.
FULL = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}


class Setback(Exception):
    """The run ends here and can be resumed; the message is one line."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that there was no room to write; libraries may wrap it, or quote it in a text."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(reason in str(error) for reason in FULL.values()):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(path: Path, num_bytes: int) -> Setback:
    """The line about a file that could not be written for want of room."""
    wanted = f"no room for {f'{num_bytes:,} bytes' if num_bytes else 'it'} (disk full, quota or file size limit)"
    return Setback(f"{path}: {wanted}; make room and give the same command again, which resumes the run")


@contextmanager
def ending_where_disk_is_full(path: Path, partial: Path, num_bytes: int) -> Iterator[None]:
    """End the process with a line and exit code 75 at the first write that HDF5 cannot do for want of room.

    Used any further, closed included, HDF5 crashes: it does not forget the write that failed. Part of its errors come
    while objects are freed, where Python raises nothing, and calls hooks instead. ``partial``, which holds a part of
    the file that was to be at ``path``, is removed.
    """

    def end() -> NoReturn:
        with suppress(OSError):
            os.write(2, f"{disk_full(path, num_bytes)}\n".encode())
        partial.unlink(missing_ok=True)
        os._exit(STOPPED)

    def freed(unraisable: Any) -> None:
        if is_full(unraisable.exc_value):
            end()
        unraisable_hook(unraisable)

    def printed(kind: Any, error: BaseException, trace: Any) -> None:
        if is_full(error):
            end()
        hook(kind, error, trace)

    unraisable_hook, hook = sys.unraisablehook, sys.excepthook
    sys.unraisablehook, sys.excepthook = freed, printed
    try:
        yield
    except Exception as error:
        if is_full(error):
            end()
        raise
    finally:
        sys.unraisablehook, sys.excepthook = unraisable_hook, hook
