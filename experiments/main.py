"""Run a config: python -m experiments.main --config=configs/NAME.py[:PROFILE] [--config.FIELD=VALUE ...].

Exit codes: 0 done; 1 a claim fails under --strict; 2 a bad config or input, or a folder that cannot be used;
70 an error of ours; 75 stopped by a signal, after a checkpoint where one was due; 130 ended at once by a second signal
(after both, the same command resumes from the last checkpoint).
"""

import signal

if __name__ == "__main__":
    # Until signals are listened to there are only imports to stop, and once they are not, JAX shuts down.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.runner import checks, settings, stopping
from experiments.runner.command import BAD_INPUT, command_line, default_workdir, published_name
from experiments.runner.publish import publish
from experiments.runner.store import SOURCE, InputError

OUR_ERROR = 70
OURS = tuple(f"{SOURCE / package}{os.sep}" for package in ("experiments", "lawlib"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check everything first, then run; return the exit code."""
    options, overrides = command_line().parse_known_args(arguments)
    with stopping.listening() as stop, _warnings_in_lines():
        try:
            return _run(options, overrides, stop)
        except (settings.ConfigError, InputError) as refusal:
            print(*refusal.problems, sep="\n", file=sys.stderr)
            return BAD_INPUT
        except (Exception, KeyboardInterrupt):
            if stop.interrupted:  # an interrupt can come out of a library as an error of its own
                return stopping.STOPPED
            traceback.print_exc()
            return OUR_ERROR


def _run(options: Namespace, overrides: Sequence[str], stop: stopping.Stop) -> int:
    """Check the config, then do what the options ask for; return the exit code."""
    config = _checked(options.config, overrides, replot=options.replot)
    # Imported late, with JAX behind them.
    from experiments.runner.run import console, run
    from experiments.runner.show import show

    stop.imported()
    if options.show:
        show(config, console())
        return 0
    # Shells leave "~" as it is after "--workdir=".
    workdir = Path(os.path.expanduser(options.workdir or default_workdir(options.config)))
    code = run(config, workdir, strict=options.strict, replot=options.replot, stop=stop)
    if options.publish and code != stopping.STOPPED:
        publish(workdir, SOURCE / "figures" / published_name(options.config))
    return code


@contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """A warning of ours is one line for people; where in the code it came from tells them nothing."""
    before = warnings.formatwarning

    def reported(message: Warning | str, category: type[Warning], filename: str, *place: Any) -> str:
        if issubclass(category, UserWarning) and filename.startswith(OURS):
            return f"warning: {' '.join(str(message).split())}\n"
        return before(message, category, filename, *place)

    warnings.formatwarning = reported
    try:
        yield
    finally:
        warnings.formatwarning = before


def _checked(spec: str, overrides: Sequence[str], *, replot: bool) -> ConfigDict:
    """The config, or every problem of it and of the command line at once."""
    config = settings.read(spec)
    problems = settings.override(config, overrides)
    if problems := problems + checks.collect(config, _no_rules if replot else _validate):
        raise settings.ConfigError(problems)
    return config


def _validate(config_checks: checks.Checks) -> None:
    # Imported late, with JAX behind it: --help and most bad input need neither.
    from experiments.runner.experiment import load

    load(config_checks.config.experiment).validate(config_checks)


def _no_rules(_: checks.Checks) -> None:
    """What is drawn again was checked when it was run, and needs none of the files that the run read."""


if __name__ == "__main__":
    sys.exit(main())
