"""Run a config: python -m experiments.main --config=configs/NAME.py[:PROFILE] [--config.FIELD=VALUE ...].

Exit codes: 0 done; 1 a claim fails under --strict; 2 a bad config or input, or a folder that cannot be used;
70 an error of ours; 75 stopped by a signal after a checkpoint (the same command goes on from there).
"""

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ml_collections import ConfigDict

from experiments import checks, settings
from experiments.store import Refused

BAD_INPUT, OUR_ERROR = 2, 70


def main(arguments: Sequence[str] | None = None) -> int:
    """Check everything first, then run; return the exit code."""
    options, overrides = _parser().parse_known_args(arguments)
    try:
        config = _checked(options.config, overrides)
        from experiments.run import run

        workdir = Path(options.workdir or _default_workdir(options.config))
        return run(config, workdir, strict=options.strict, replot=options.replot)
    except (settings.ConfigError, Refused) as refusal:
        print(*refusal.problems, sep="\n", file=sys.stderr)
        return BAD_INPUT
    except Exception:
        traceback.print_exc()
        return OUR_ERROR


def _checked(spec: str, overrides: Sequence[str]) -> ConfigDict:
    """The config, or every problem of it and of the command line at once."""
    config = settings.read(spec)
    if problems := settings.override(config, overrides) + checks.collect(config, _validate):
        raise settings.ConfigError(problems)
    return config


def _default_workdir(spec: str) -> str:
    name, _, profile = spec.partition(".py")
    return f"runs/{Path(name).name}-{profile.removeprefix(':') or 'cpu'}"


def _validate(config_checks: checks.Checks) -> None:
    # Imported late, with JAX behind it: --help and most bad input need neither.
    importlib.import_module(f"experiments.{config_checks.config.experiment}").validate(config_checks)


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line for one problem, without the usage above it."""
        self.exit(BAD_INPUT, f"{message} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="python -m experiments.main",
        description="Run a config into a run folder: results, claims table and figures.",
        epilog="Any field can be set: --config.net.depth=4, --config.sweep.net.scale=0.1,1.0, "
        "--config.variants=\"({'net.depth': 2},)\". Exit codes: 0 done, 1 a claim fails under --strict, 2 bad input, "
        "70 an error of ours, 75 stopped after a checkpoint.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE[:PROFILE]", help="profiles: smoke, cpu (default), paper"
    )
    parser.add_argument("--workdir", metavar="DIR", help="the run folder (default: runs/NAME-PROFILE)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a law or printed claim fails")
    parser.add_argument("--replot", action="store_true", help="redo claims and figures from results.nc, without a run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
