"""The command line: its options, and how they go together. Nothing outside Python's library is imported."""

import argparse
from argparse import Namespace
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["BAD_INPUT", "EXAMPLES", "OneLineParser", "command_line", "misused"]

BAD_INPUT = 2
EXAMPLES = (
    "--config.net.depth=4",
    "--config.sweep.net.scale=0.1,1.0",
    "--config.variants=\"({'net.depth': 2},)\"",
)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the exit code of bad input."""

    def error(self, message: str) -> NoReturn:
        """Report the problem in one line, without the usage."""
        self.exit(BAD_INPUT, f"{message} (see --help)\n")


def command_line() -> argparse.ArgumentParser:
    """The parser of the options; unknown arguments are overrides of the config."""
    parser = OneLineParser(
        prog="python -m experiments.main",
        description="Run a config into a run folder: results, claims table and figures.",
        epilog=f"Any field can be set: {', '.join(EXAMPLES)}. If variants set a field, a value selects those that have "
        "it; if none has it, the variants that leave the field to the config take it or, if all set it, all take it. "
        "--config.name=NAME selects one variant. Exit codes: 0 done, 1 a claim fails under --strict, 2 bad input, "
        "70 an error of ours, 75 stopped by a signal (after a checkpoint), 130 ended at once by a second one.",
        allow_abbrev=False,
    )
    profiles = "profiles: smoke, cpu (default), paper; --list shows those of each config"
    parser.add_argument("--config", metavar="FILE[:PROFILE]", help=profiles)
    listed = "list the configs, with paper, figure and times; with words, those that have all of them in any column"
    parser.add_argument("--list", nargs="*", metavar="WORD", help=listed)
    parser.add_argument("--workdir", metavar="DIR", help="the run folder (default: runs/NAME-PROFILE)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a law or printed claim fails")
    parser.add_argument("--replot", action="store_true", help="redo claims and figures from results.nc, without a run")
    others = "resume a run that was begun under other versions or flags: keep finished members, compute the others anew"
    parser.add_argument("--redo-unfinished", action="store_true", help=others)
    parser.add_argument(
        "--show", action="store_true", help="print the config's fields and what they mean, without a run"
    )
    joined = "compute with other processes, each given the same command (docs/run/distributed.md); process 0 writes"
    parser.add_argument("--distributed", action="store_true", help=joined)
    by_hand = "with --distributed where JAX finds no cluster"
    parser.add_argument("--coordinator", metavar="HOST:PORT", help=f"address of process 0 ({by_hand})")
    parser.add_argument("--num-processes", metavar="N", help=f"number of processes ({by_hand})")
    parser.add_argument("--process", metavar="I", help=f"index of this process, from 0 ({by_hand})")
    parser.add_argument("--publish", action="store_true", help="copy tables and new pictures to figures/NAME")
    return parser


def misused(options: Namespace, overrides: Sequence[str]) -> list[str]:
    """Why these options cannot be given together; no line if they can."""
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if name != "list" and value not in (None, False)
    ]
    if options.list is None and options.config is None:
        unknown = [f"{word}: is not an option (see --help)" for word in overrides if not word.startswith("--config.")]
        return ["--config=FILE[:PROFILE] is missing; --list shows the configs", *unknown]
    if options.list is None:
        return []
    others = ", ".join([*given, *overrides])
    return [f"--list runs nothing and cannot be given together with {others}; leave out one of them"] if others else []
