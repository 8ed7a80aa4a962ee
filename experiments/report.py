"""Write a page about finished runs: python -m experiments.report RUN... [-o FILE].

One file that needs no other and no network: the verdict, every claim, pictures, curves, config and provenance. Exit
codes: 0 done; 2 a folder that cannot be read, a file that cannot be written, a package that is missing; 70 an error of
ours; 75 a full disk; 130 interrupted.
"""

import sys
from collections.abc import Sequence

from experiments.runner import checkout, extras
from experiments.runner.command import BAD_INPUT, OneLineParser

__all__ = ["command_line", "main"]


def command_line() -> OneLineParser:
    """The parser of the options."""
    parser = OneLineParser(
        prog="python -m experiments.report",
        description="Write a page about finished run folders that a browser shows without a network: verdict, claims, "
        "pictures, curves, config and provenance.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, or a published one (figures/NAME)")
    default = "default: report.html in the run folder, runs/report.html for several"
    parser.add_argument("-o", metavar="FILE", help=f"the page ({default})")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the command line and the packages, then write the page; return the exit code."""
    options = command_line().parse_args(arguments)
    if problems := checkout.problems() or extras.problems("experiments.report", "run"):
        print(*problems, sep="\n", file=sys.stderr)
        return BAD_INPUT
    # Imported late: the packages that it needs may be missing.
    from experiments.reporting.launch import launch

    return launch(options)


if __name__ == "__main__":
    sys.exit(main())
