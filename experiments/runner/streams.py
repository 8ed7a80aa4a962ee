"""Standard output and error, which may be closed, full, or read by nobody any more: no reason for a run to end.

Nothing outside Python's library is imported.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress

from experiments.runner.setbacks import Setback

__all__ = ["Output", "complain", "open_closed", "write"]


def open_closed() -> None:
    """Open /dev/null in place of the standard streams that are closed: the next file would take their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def complain(lines: Iterable[str]) -> None:
    """Print lines, if there are any, on standard error, if it can be written to."""
    lines = list(lines)
    if lines and sys.stderr:
        with suppress(OSError, ValueError):
            print(*lines, sep="\n", file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Print text as it is, also where letters cannot be encoded or nobody reads any more, as after ``| head``.

    Raises:
        Setback: Standard output cannot be written to: its disk is full, or its terminal closed.
    """
    if not sys.stdout:
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        _discard()
    except OSError as error:
        _discard()
        msg = f"standard output: {error.strerror}"
        raise Setback(msg) from error


class Output:
    """Standard output as a file that takes everything: what cannot be written is said once, and left out."""

    def __init__(self) -> None:
        self._quiet = False

    @property
    def encoding(self) -> str:
        """The encoding of the text."""
        return getattr(sys.stdout, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return bool(sys.stdout) and sys.stdout.isatty()

    def fileno(self) -> int:
        """The number of the file."""
        return sys.stdout.fileno()

    def write(self, text: str) -> int:
        """Write text, or nothing."""
        if not self._quiet:
            try:
                write(text)
            except Setback as setback:
                self._quiet = True
                complain([f"{setback}; the run goes on, and what it reports is in its folder"])
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def _discard() -> None:
    """Let what is still in Python's buffer, and all that follows, go nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
