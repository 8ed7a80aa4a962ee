"""A small run that processes make, are stopped in and resume: two programs, two chunks each."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of 21 observations there is a checkpoint after every second.
SMALL = [
    f"--config={ROOT / 'configs' / 'dln_parsimony'}.py:smoke",
    "--config.variants=({'name': 'double', 'net.depth': 2}, {'name': 'single', 'precision': 'float32'})",
    "--config.num_seeds=4",
    "--config.observe.num_times=21",
    "--config.run.chunk=8",
    "--config.run.segment=2",
    "--config.run.checkpoint_seconds=0.0",
]
# Stops itself at every report from this share of the work on, so that it never ends before it is killed or signalled.
# However busy the machine, what is under way at a signal is not abandoned.
PAUSING = """
import os, signal, sys
from experiments import main
from experiments.runner import progress, stopping
stopping.GRACE_S = 3600.0
report = progress.Reporter.report
def pausing(self, variant, finished, share, ends, doing="running"):
    report(self, variant, finished, share, ends, doing)
    if doing == "running" and share >= {share}:
        os.kill(os.getpid(), signal.SIGSTOP)
progress.Reporter.report = pausing
sys.exit(main.main(sys.argv[1:]))
"""


def bytes_of(folder):
    """The content of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
