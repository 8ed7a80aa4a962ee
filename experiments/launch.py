"""Run a config on many machines: python -m experiments.launch --config=configs/NAME.py[:PROFILE] --engine dask.

It is cut into shards, each of which may fail and be tried again; docs/run/clusters.md. The exit codes are those of
experiments.main.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence

from experiments.runner import checkout, extras, streams
from experiments.runner.command import BAD_INPUT, OneLineParser

__all__ = ["command_line", "main"]

ENGINE = "--engine dask"


def command_line() -> OneLineParser:
    """The parser of the options; unknown arguments are overrides of the config."""
    parser = OneLineParser(
        prog="python -m experiments.launch",
        description="Cut a config into shards (a variant and a block of its seeds), compute them on the workers of a "
        "cluster, merge them, and judge and draw the result as experiments.main does.",
        epilog="The same command resumes; shards that are complete are kept. Any field can be set: "
        "--config.FIELD=VALUE. Exit codes are those of experiments.main.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE[:PROFILE]", required=True, help="the config, as for experiments.main")
    parser.add_argument("--engine", choices=("dask",), default="dask", help="who runs the shards (default: dask)")
    address = "the scheduler of a running cluster, as tcp://HOST:PORT (default: workers on this machine)"
    parser.add_argument("--address", metavar="ADDRESS", default="", help=address)
    workers = "workers on this machine, which share its cores (default: one for each core)"
    parser.add_argument("--workers", metavar="N", type=int, help=workers)
    parser.add_argument("--seeds", metavar="N", type=int, help="seeds of a shard (default: at most 4 shards a variant)")
    parser.add_argument("--tries", metavar="N", type=int, default=3, help="how often a shard may fail (default: 3)")
    parser.add_argument("--workdir", metavar="DIR", help="the merged run folder; shards are in DIR-shards")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a law or printed claim fails")
    others = "resume shards that were begun under other versions or flags, as experiments.main does"
    parser.add_argument("--redo-unfinished", action="store_true", help=others)
    return parser


def misused(options: Namespace) -> list[str]:
    """Why these options cannot be given; no line if they can."""
    counts = {name: getattr(options, name) for name in ("workers", "seeds", "tries")}
    lines = [f"--{name}={n}: must be 1 or more" for name, n in counts.items() if n is not None and n < 1]
    if options.address and options.workers is not None:
        lines.append("--workers: is for workers on this machine; those of --address are started by themselves")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the command line and the packages, then launch; return the exit code."""
    options, overrides = command_line().parse_known_args(arguments)
    problems = misused(options) or checkout.problems()
    problems = problems or extras.problems("experiments", "run") + extras.problems(ENGINE, "cluster")
    problems = problems or extras.outdated(ENGINE, "cluster", "distributed", extras.LEAST_DISTRIBUTED)
    if problems:
        streams.complain(problems)
        return BAD_INPUT
    # Imported late: the packages that it needs may be missing.
    from experiments.runner.shards.launching import launch

    options.workers, options.seeds = options.workers or 0, options.seeds or 0
    return launch(options, overrides)


if __name__ == "__main__":
    sys.exit(main())
