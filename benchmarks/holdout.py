"""Judge every claim again with root seed 1, which chose no bound: python -m benchmarks.holdout [--only NAME ...].

Each config's cpu profile runs into a folder of its own, one after another. The same command resumes what was stopped,
and judges finished runs again. It writes benchmarks/results/holdout.md and .json beside the published tables of seed 0;
with --only, the rows of the other configs stay as they are. Exit codes: 0 all ran; 2 bad input, or a config that did
not run; 75 stopped (the same command resumes).
"""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import page, seeds
from experiments.runner import catalog
from experiments.runner.checkout import SOURCE
from experiments.runner.children import INTERRUPTED, run_config
from experiments.runner.claims import Claim
from experiments.runner.command import BAD_INPUT, OneLineParser
from experiments.runner.fields import nearest
from experiments.runner.setbacks import STOPPED
from experiments.runner.store import InputError
from experiments.runs import load

__all__ = ["main"]

RESULTS = Path(__file__).parent / "results"
PROFILE, SEED = "cpu", 1


def command_line() -> OneLineParser:
    """The parser of the options."""
    parser = OneLineParser(prog="python -m benchmarks.holdout", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these configs alone, however long they take")
    parser.add_argument("--minutes", type=float, default=5.0, help="leave out configs that take longer (default: 5)")
    parser.add_argument("--workdir", type=Path, default=Path("runs/holdout"), help="where the run folders go")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, judge and write the table; return the exit code."""
    options = command_line().parse_args(arguments)
    known = {entry.name: entry for entry in catalog.entries(SOURCE)}
    if problems := _problems(options, known):
        print(*problems, sep="\n", file=sys.stderr)
        return BAD_INPUT
    failed = []
    for name in chosen(options, known):
        print(f"{name}: cpu, {known[name].times.get(PROFILE, catalog.UNKNOWN)} with seed 0", flush=True)
        if (code := run_config(name, PROFILE, options.workdir / name, f"--config.seed={SEED}")) in INTERRUPTED:
            print("stopped; the same command resumes")
            return STOPPED
        if code:
            failed.append(f"{name}: did not run (exit code {code})")
            continue
        try:
            record(name, options.workdir / name, known)
        except InputError as refusal:
            failed += refusal.problems
    print(*failed, sep="\n", end="\n" if failed else "", file=sys.stderr)
    return BAD_INPUT if failed else 0


def _problems(options: Namespace, known: Mapping[str, catalog.Entry]) -> list[str]:
    unknown = [name for name in options.only or () if name not in known]
    lines = [f"--only {name}: there is no config of this name{nearest(name, known)}" for name in unknown]
    return lines if options.minutes > 0 else [*lines, f"--minutes {options.minutes:g}: must be positive"]


def chosen(options: Namespace, known: Mapping[str, catalog.Entry]) -> list[str]:
    """The configs that are run: those named, or all whose time is known and short enough."""
    if options.only:
        return list(dict.fromkeys(options.only))
    return [name for name, entry in known.items() if entry.seconds.get(PROFILE, float("inf")) <= 60 * options.minutes]


def record(name: str, folder: Path, known: Mapping[str, catalog.Entry]) -> None:
    """Write the rows of a config into the table, in place of those that it has."""
    run, file = load(folder), RESULTS / "holdout.json"
    rows, about = _so_far(file)
    times = about["seconds"] | {name: round(_seconds(run.provenance))}
    about = {
        "seed": SEED,
        "seconds": {key: times[key] for key in known if key in times},
        "left_out": {
            key: entry.times.get(PROFILE, catalog.UNKNOWN) for key, entry in known.items() if key not in times
        },
    }
    own = seeds.paired(name, _published(name), run.claims)
    rows = sorted([*(row for row in rows if row.config != name), *own], key=lambda row: row.config)
    kept = {"about": about, "claims": seeds.to_plain(rows)}
    page.write(RESULTS, "holdout", seeds.described(rows, about), seeds.tables(rows), kept=kept)
    found = {part: len(of) for part, of in seeds.ranked(own).items()}
    print(f"{name}: {found['differs']} verdicts differ, {found['edge']} knife edges, of {len(own)} rows", flush=True)
    print(f"so far {sum(times.values()) / 60:.1f} minutes for {len(times)} configs", flush=True)


def _so_far(file: Path) -> tuple[list[seeds.Row], dict[str, Any]]:
    try:
        if not file.exists():
            return [], {"seconds": {}}
        kept = json.loads(file.read_text(encoding="utf-8"))
        return seeds.from_plain(kept["claims"]), kept["about"]
    except (ValueError, LookupError, TypeError) as error:
        said = " ".join(str(error).split())
        raise InputError([f"{file}: is damaged ({said}); restore it, or delete it to begin anew"]) from error


def _published(name: str) -> tuple[Claim, ...]:
    """The claims of seed 0; none where nothing is published, or by a version that wrote no claims.json."""
    folder = SOURCE / "figures" / name
    return load(folder).claims if (folder / "claims.json").exists() else ()


def _seconds(provenance: Mapping[str, Any]) -> float:
    return float(provenance.get("compile_s") or 0.0) + float(provenance.get("run_s") or 0.0)


if __name__ == "__main__":
    sys.exit(main())
