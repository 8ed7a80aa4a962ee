"""Runs of configs one after another, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

from experiments.runner.checkout import SOURCE
from experiments.runner.setbacks import STOPPED

__all__ = ["INTERRUPTED", "run_config"]

# The exit codes of a run that the same command resumes; by a signal they are negative.
INTERRUPTED = {STOPPED, 130, -2, -15}


def run_config(name: str, profile: str, folder: Path, *words: str) -> int:
    """Run or resume a config into a folder; a finished run is judged and drawn again. Return the exit code."""
    about = [f"--config={SOURCE / 'configs' / name}.py:{profile}", f"--workdir={folder}", *words]
    again = ["--replot"] if (folder / "results.nc").exists() else []
    child = subprocess.Popen([sys.executable, "-m", "experiments.main", *about, *again], cwd=SOURCE)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child has it too, and ends after a checkpoint
            continue
