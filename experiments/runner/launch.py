"""A run from its command line: the config is checked whole, then run, shown or published."""

import os
import traceback
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from experiments.runner import checks, devices, settings, stopping, streams
from experiments.runner.checkout import SOURCE
from experiments.runner.command import BAD_INPUT
from experiments.runner.outcome import OUR_ERROR
from experiments.runner.publish import publish
from experiments.runner.setbacks import STOPPED, Setback
from experiments.runner.spec import default_workdir, published_name, split
from experiments.runner.store import InputError
from experiments.runner.team import peers

if TYPE_CHECKING:  # JAX is behind it
    from experiments.runner.team.team import Team

__all__ = ["checked", "ending", "launch", "place", "refuse", "validate"]

OURS = tuple(f"{SOURCE / package}{os.sep}" for package in ("experiments", "lawlib"))


def launch(options: Namespace, overrides: Sequence[str]) -> int:
    """Do what the options ask for; return the exit code."""
    if not options.distributed:
        return ending(lambda stop: _run(options, overrides, stop))
    team = None

    def together(stop: stopping.Stop) -> int:
        # Imported late, with JAX behind it.
        from experiments.runner.team.team import join

        nonlocal team
        team = join(peers.found(options))
        return team.through(lambda: _run(options, overrides, stop, team))

    code = ending(together, doubled=True)
    return team.leave(code) if team else code


def ending(act: Callable[[stopping.Stop], int], *, doubled: bool = False) -> int:
    """What a command does, with signals listened to; whatever ends it becomes lines for people and an exit code.

    ``doubled``: a signal may come twice, as ``stopping.listening`` has it.
    """
    # Figures go to files alone, whatever the notebook or the window of the caller is.
    os.environ["MPLBACKEND"] = "agg"
    with stopping.listening(doubled=doubled) as stop, _warnings_in_lines():
        try:
            return act(stop)
        except (settings.ConfigError, InputError) as refusal:
            streams.complain(refusal.problems)
            return BAD_INPUT
        except Setback as setback:
            streams.complain([str(setback)])
            return STOPPED
        except (Exception, KeyboardInterrupt):
            if stop.interrupted:  # an interrupt can come out of a library as an error of its own
                return STOPPED
            traceback.print_exc()
            return OUR_ERROR


def _run(options: Namespace, overrides: Sequence[str], stop: stopping.Stop, team: "Team | None" = None) -> int:
    """Check the config, then do what the options ask for; return the exit code."""

    def accepted() -> tuple[ConfigDict, Path]:
        config = checked(options.config, overrides, _no_rules if options.replot or options.show else validate)
        refuse(devices.problems())
        return config, Path() if options.show else place(options.workdir or default_workdir(options.config))

    config, workdir = team.agreed(accepted) if team else accepted()
    # Imported late, with JAX behind them.
    from experiments.runner.run import run
    from experiments.runner.show import show
    from experiments.runner.team.following import follow

    stop.imported()
    if options.show:
        show(config)
        # What is said of a config that cannot run here, for want of data perhaps, comes below its fields.
        refuse(checks.collect(config, validate))
        return 0
    if team and not team.leads:
        return follow(config, team, stop)
    how = {"strict": options.strict, "replot": options.replot, "redo": options.redo_unfinished}
    code = run(config, workdir, **how, stop=stop, team=team)
    if options.publish and code != STOPPED:
        figures = SOURCE / "figures"
        publish(workdir, figures / published_name(options.config), figures / split(options.config)[0].stem)
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


def checked(spec: str, overrides: Sequence[str], rules: Callable[[checks.Checks], None]) -> ConfigDict:
    """The config, or every problem of it and of the command line at once."""
    config = settings.read(spec)
    refuse(settings.override(config, overrides) + checks.collect(config, rules))
    return config


def place(given: str | Path) -> Path:
    """The folder that ``--workdir`` means; that of what is published is refused."""
    workdir = Path(os.path.expanduser(given))  # shells leave "~" as it is after "--workdir="
    if workdir.resolve().is_relative_to(SOURCE / "figures"):
        held = "figures/ holds what is published, by --publish; choose another folder for the run"
        raise settings.ConfigError([f"--workdir={workdir}: {held}"])
    return workdir


def refuse(problems: list[str]) -> None:
    """Raise the problems, if there are any."""
    if problems:
        raise settings.ConfigError(problems)


def validate(config_checks: checks.Checks) -> None:
    """Check what the experiment of a config asks of it."""
    refuse(devices.problems())
    # Imported late, with JAX behind it: most bad input needs neither.
    from experiments.runner.experiment import load

    load(config_checks.config.experiment).validate(config_checks)


def _no_rules(_: checks.Checks) -> None:
    """What is drawn again or shown needs none of the files that the run reads."""
