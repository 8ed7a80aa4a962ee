"""Run every config and publish its figures and tables: python -m experiments.figures [--only NAME ...] [--profile P].

Each config runs in a process of its own into runs/figures/NAME, and is published to figures/NAME (NAME_PROFILE for
another profile than cpu); a smoke profile is drawn and not published. The same command resumes what was stopped, and
judges and draws finished runs again from their results. A config that fails does not stop the others. At the end
figures/README.md says which profile drew what, when, how long it took and on what machine. Exit codes: 0 all ran; 2 bad
input, or a config that did not run; 75 stopped (the same command resumes).
"""

import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments import readme
from experiments.runner import catalog, streams
from experiments.runner.checkout import SOURCE
from experiments.runner.children import INTERRUPTED, run_config
from experiments.runner.command import BAD_INPUT, OneLineParser
from experiments.runner.fields import nearest
from experiments.runner.files import write_atomic
from experiments.runner.outcome import exit_code
from experiments.runner.setbacks import STOPPED
from experiments.runner.spec import TRIAL, published_name
from experiments.runner.store import InputError

__all__ = ["main"]


def command_line() -> OneLineParser:
    """The parser of the options."""
    parser = OneLineParser(prog="python -m experiments.figures", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these configs alone (default: all)")
    parser.add_argument("--profile", default="cpu", metavar="P", help="the profile that is run (default: cpu)")
    parser.add_argument("--workdir", type=Path, default=Path("runs/figures"), help="where the run folders go")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, publish and write the page; return the exit code."""
    options = command_line().parse_args(arguments)
    return exit_code(lambda: _draw(options))


def _draw(options: Namespace) -> int:
    known = {entry.name: entry for entry in catalog.entries(SOURCE)}
    if problems := _problems(options, known):
        raise InputError(problems)
    began, failed = time.monotonic(), []
    words = () if options.profile == TRIAL else ("--publish",)
    names = [name for name in options.only or known if options.profile in known[name].times]
    for place, name in enumerate(names, start=1):
        streams.write(f"{place} of {len(names)}: {name}, {known[name].times[options.profile]}\n")
        folder = options.workdir.expanduser() / published_name(f"{name}.py:{options.profile}")
        if (code := run_config(name, options.profile, folder.absolute(), *words)) in INTERRUPTED:
            streams.write("stopped; the same command resumes\n")
            return STOPPED
        failed += [f"{name}: did not run (exit code {code})"] if code else []
    done = f"{len(names) - len(failed)} of {len(names)} configs"
    taken = catalog.in_words(time.monotonic() - began)
    streams.complain(failed)
    if words:
        write_atomic(SOURCE / readme.FIGURES, readme.figures_page(SOURCE))
        streams.write(f"{done} published in {taken}; wrote {readme.FIGURES}\n")
    else:
        streams.write(f"{done} drawn in {taken} below {options.workdir}; a {TRIAL} profile is not published\n")
    return BAD_INPUT if failed else 0


def _problems(options: Namespace, known: Mapping[str, catalog.Entry]) -> list[str]:
    """What is wrong with the options: a name or a profile that does not exist."""
    named = options.only or ()
    unknown = [name for name in named if name not in known]
    lines = [f"--only {name}: there is no config of this name{nearest(name, known)}" for name in unknown]
    profiles = dict.fromkeys(profile for entry in known.values() for profile in entry.times)
    if options.profile not in profiles:
        return [*lines, f"--profile {options.profile}: no config has it{nearest(options.profile, profiles)}"]
    without = [name for name in named if name in known and options.profile not in known[name].times]
    return lines + [f"--only {name}: has no profile {options.profile}" for name in without]


if __name__ == "__main__":
    sys.exit(main())
