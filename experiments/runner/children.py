"""Runs of configs one after another, each in a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from experiments.runner.checkout import SOURCE
from experiments.runner.setbacks import STOPPED

__all__ = ["INTERRUPTED", "run_config"]

# The exit codes of a run that the same command resumes; by a signal they are negative.
INTERRUPTED = {STOPPED, 130, -1, -2, -15}
HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_config(name: str, profile: str, folder: Path, *words: str) -> int:
    """Run or resume a config into a folder; a finished run is judged and drawn again. Return the exit code.

    A signal that asks to stop is handed on to the run, which ends after a checkpoint; the code is then ``STOPPED``.
    """
    about = [f"--config={SOURCE / 'configs' / name}.py:{profile}", f"--workdir={folder}", *words]
    again = ["--replot"] if (folder / "results.nc").exists() else []
    child: subprocess.Popen[bytes] | None = None
    heard: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        if child:  # a terminal sends Ctrl-C to it too; a run takes two within moments for one
            child.send_signal(number)

    with _handled(hand_on):
        child = subprocess.Popen([sys.executable, "-m", "experiments.main", *about, *again], cwd=SOURCE)
        for number in heard[:1]:  # it came before there was a child
            child.send_signal(number)
        code = child.wait()
    return STOPPED if heard else code


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals that ask to stop, but those that are ignored, as `nohup` does."""
    numbers = [number for number in HANDED_ON if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
