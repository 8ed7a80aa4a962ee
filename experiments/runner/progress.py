"""How far a run is: a bar on a terminal, plain lines elsewhere, every step in log.jsonl."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from experiments.runner.streams import complain

__all__ = ["Reporter", "reporting", "rounded"]

LINE_EVERY_S = 2.0


class Reporter:
    """Tells the members finished and the time left; ``log`` takes each report as a record.

    A step of one variant may cost a thousand of the next, so the time left is told of the variant that runs.
    """

    def __init__(self, show: Callable[[str, float], None], log: Callable[[dict[str, Any]], None], total: int):
        self._show, self._log, self._total = show, log, total
        self._variant, self._began, self._share_at_start = "", 0.0, 0.0

    def report(self, variant: str, finished: int, share: float, ends: float, doing: str = "running") -> None:
        """Say that ``finished`` members are done and ``share`` (0 to 1) of all work; this variant ends at ``ends``."""
        if variant != self._variant:
            self._variant, self._began, self._share_at_start = variant, time.monotonic(), share
        self._log({"variant": variant, "doing": doing, "members_finished": finished, "share": rounded(share)})
        text = f"{variant}: {doing}, {finished} of {self._total} members finished, {share:.0%}"
        self._show(text + self._left(share, ends), share)

    def warn(self, text: str) -> None:
        """Print a line on stderr, above a bar, and log nothing: from any thread."""
        complain([f"{self._variant}: {text}"])

    def _left(self, share: float, ends: float) -> str:
        """The time to the variant's end at its own pace; nothing before a step is made."""
        if (gained := share - self._share_at_start) <= 0:
            return ""
        seconds = (time.monotonic() - self._began) / gained * (ends - share)
        return f", {seconds:.0f} s left{'' if ends == 1.0 else ' of this variant'}"


@contextmanager
def reporting(console: Console, log: Callable[[dict[str, Any]], None], total: int) -> Iterator[Reporter]:
    """Yield a Reporter that draws a bar where there is a terminal, and prints a line every 2 s where there is none."""
    if not console.is_terminal:
        yield Reporter(_lines(console), log, total)
        return
    # The text says the time left: rich's own column would take what was done before a restart for a moment's work.
    columns = TextColumn("{task.description}", markup=False), BarColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield Reporter(lambda text, share: bar.update(task, description=text, completed=share), log, total)


def _lines(console: Console) -> Callable[[str, float], None]:
    last = -math.inf

    def show(text: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            console.print(text, markup=False, highlight=False)

    return show


def rounded(share: float) -> float:
    """A share as the log has it: runs have up to a million segments."""
    return round(share, 6)
