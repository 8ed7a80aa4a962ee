"""Export finished runs: python -m experiments.export RUN... --to csv|tensorboard|wandb|trackio [-o FOLDER].

Only finished folders are read, so that a tracker that is down stops no run. Exit codes: 0 done; 2 a folder that cannot
be read or written, a package that is missing, a tracker that refuses; 70 an error of ours; 130 interrupted.
"""

import sys
from collections.abc import Sequence

from experiments.runner import checkout, extras
from experiments.runner.command import BAD_INPUT, OneLineParser

__all__ = ["command_line", "main"]

FORMATS = ("csv", "tensorboard", "wandb", "trackio")


def command_line() -> OneLineParser:
    """The parser of the options."""
    parser = OneLineParser(
        prog="python -m experiments.export",
        description="Export finished run folders. csv: claims, summary and a tidy table for each variable. "
        "tensorboard, wandb, trackio: a run for each member (a seed of a setting), and the claims.",
        epilog="wandb and trackio make new runs each time; WANDB_MODE=offline keeps them in ./wandb.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder; csv also takes a published one")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format, or the tracker")
    parser.add_argument(
        "-o", metavar="FOLDER", help="where files go, below it one folder a run (default: exports/FORMAT)"
    )
    parser.add_argument("--project", metavar="NAME", help="the tracker's project (default: lawlib)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the command line and the packages, then export; return the exit code."""
    options = command_line().parse_args(arguments)
    if problems := checkout.problems() or extras.problems("experiments.export", "run"):
        print(*problems, sep="\n", file=sys.stderr)
        return BAD_INPUT
    # Imported late: the packages that it needs may be missing.
    from experiments.exporters.launch import launch

    return launch(options)


if __name__ == "__main__":
    sys.exit(main())
