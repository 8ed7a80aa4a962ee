"""The command line: the options of a run, and the default run folder."""

import argparse
from pathlib import Path
from typing import NoReturn

from experiments.runner.settings import split

__all__ = ["BAD_INPUT", "EXAMPLES", "command_line", "default_workdir", "published_name"]

BAD_INPUT = 2
EXAMPLES = (
    "--config.net.depth=4",
    "--config.sweep.net.scale=0.1,1.0",
    "--config.variants=\"({'net.depth': 2},)\"",
)


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Report the problem in one line, without the usage."""
        self.exit(BAD_INPUT, f"{message} (see --help)\n")


def command_line() -> argparse.ArgumentParser:
    """The parser of the options; unknown arguments are overrides of the config."""
    parser = _OneLineParser(
        prog="python -m experiments.main",
        description="Run a config into a run folder: results, claims table and figures.",
        epilog=f"Any field can be set: {', '.join(EXAMPLES)}. If variants set a field, a value selects those that have "
        "it; if none has it, the variants that leave the field to the config take it or, if all set it, all take it. "
        "--config.name=NAME selects one variant. Exit codes: 0 done, 1 a claim fails under --strict, 2 bad input, "
        "70 an error of ours, 75 stopped by a signal (after a checkpoint), 130 ended at once by a second one.",
        allow_abbrev=False,
    )
    profiles = "profiles: smoke, cpu (default), paper"
    parser.add_argument("--config", required=True, metavar="FILE[:PROFILE]", help=profiles)
    parser.add_argument("--workdir", metavar="DIR", help="the run folder (default: runs/NAME-PROFILE)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a law or printed claim fails")
    parser.add_argument("--replot", action="store_true", help="redo claims and figures from results.nc, without a run")
    parser.add_argument(
        "--show", action="store_true", help="print the config's fields and what they mean, without a run"
    )
    parser.add_argument("--publish", action="store_true", help="copy tables and new pictures to figures/NAME")
    return parser


def default_workdir(spec: str) -> Path:
    """``runs/NAME-PROFILE`` for a config given as FILE[:PROFILE]."""
    path, profile = split(spec)
    return Path("runs") / f"{path.stem}-{profile}"


def published_name(spec: str) -> str:
    """The folder below figures/ for a config given as FILE[:PROFILE]: NAME, or NAME_PROFILE for other than cpu."""
    path, profile = split(spec)
    return path.stem if profile == "cpu" else f"{path.stem}_{profile}"
