"""Merge shards into one run: python -m experiments.merge FOLDER... --workdir=DIR.

FOLDER is a shard, or a folder of shards, as experiments.launch makes them (docs/run/clusters.md). The result is judged
and drawn. The exit codes are those of experiments.main.
"""

import sys
from collections.abc import Sequence

from experiments.runner import checkout, extras, streams
from experiments.runner.command import BAD_INPUT, OneLineParser

__all__ = ["command_line", "main"]


def command_line() -> OneLineParser:
    """The parser of the options."""
    parser = OneLineParser(
        prog="python -m experiments.merge",
        description="Merge the shards of a config into the run folder of the undivided run, and judge and draw it.",
        epilog="Exit codes are those of experiments.main.",
        allow_abbrev=False,
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a shard, or a folder of shards")
    parser.add_argument("--workdir", metavar="DIR", help="the merged run folder (of one folder DIR-shards: DIR)")
    mixed = "merge shards of different code, versions, settings or data too; the results say so"
    parser.add_argument("--mixed", action="store_true", help=mixed)
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a law or printed claim fails")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the command line and the packages, then merge; return the exit code."""
    options = command_line().parse_args(arguments)
    if problems := checkout.problems() or extras.problems("experiments", "run"):
        streams.complain(problems)
        return BAD_INPUT
    # Imported late: the packages that it needs may be missing.
    from experiments.runner.shards.launching import merge

    return merge(options)


if __name__ == "__main__":
    sys.exit(main())
