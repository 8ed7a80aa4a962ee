"""Run a config: python -m experiments.main --config=configs/NAME.py[:PROFILE] [--config.FIELD=VALUE ...].

Exit codes: 0 done; 1 a claim fails under --strict; 2 a bad config or input, or a folder that cannot be used;
70 an error of ours; 75 stopped by a signal after a checkpoint (the same command goes on from there).
"""

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from experiments import checks, settings
from experiments.command import BAD_INPUT, command_line, default_workdir
from experiments.store import Refused

OUR_ERROR = 70


def main(arguments: Sequence[str] | None = None) -> int:
    """Check everything first, then run; return the exit code."""
    options, overrides = command_line().parse_known_args(arguments)
    try:
        config = _checked(options.config, overrides)
        from experiments.run import run

        workdir = Path(options.workdir or default_workdir(options.config))
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


def _validate(config_checks: checks.Checks) -> None:
    # Imported late, with JAX behind it: --help and most bad input need neither.
    experiment = importlib.import_module(f"experiments.{config_checks.config.experiment}")
    if not hasattr(experiment, "dynamics"):
        config_checks.require("experiment", False, "is a module of the runner, not an experiment")
    else:
        experiment.validate(config_checks)


if __name__ == "__main__":
    sys.exit(main())
