"""Write the tables of README.md and figures/README.md from what is published: python -m experiments.readme [--check].

README.md has marks, ``<!-- begin papers -->`` to ``<!-- end papers -->`` and the same for ``speed`` and ``missing``;
what is between them is replaced. With --check nothing is written, and the exit code is 1 if a file would change; it is
2 where a table cannot be read or a mark is missing.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import published
from experiments.papers import PAPERS
from experiments.papers.item import Paper
from experiments.runner import catalog
from experiments.runner.checkout import SOURCE
from experiments.runner.claims import WITHOUT_VERDICT, Claim, table_row
from experiments.runner.command import OneLineParser
from experiments.runner.first_tables import BY_FIRST_VERSION
from experiments.runner.generated import filled, kept
from experiments.runner.outcome import exit_code
from experiments.runner.store import InputError

__all__ = ["FIGURES", "SPEED", "Speed", "documents", "figures_page", "main"]

COMMAND = "python -m experiments.readme"
README, FIGURES = "README.md", "figures/README.md"
PAPERS_HEAD = ("paper", "law", "claims: hold", "fail", "disputed: refuted", "stand", "no verdict")
SPEED_HEAD = ("what", "measured", "compared with", "machine", "table")
FIGURES_HEAD = ("folder", "config", "profile", "pictures", "run on", "time", "machine", "versions")
UNRUN_HEAD = ("config", "figure", "time")


class Speed(NamedTuple):
    """A row about speed: ``{0}`` stands for the number in the first of a benchmark's ``rows``, ``{1}`` in the second.

    ``inverse`` takes 1 over each.
    """

    what: str
    benchmark: str
    rows: tuple[str, ...]
    measured: str
    compared: str
    inverse: bool = False


SPEED = (
    Speed(
        "a step of the small equivalent network, d = 1000, r = 5, three layers",
        "equivalent",
        ("full_over_small_per_step",),
        "{0} times faster",
        "a step of the d x d network",
    ),
    Speed(
        "a hundred seeds of Figure 3 with the spectra of all layers at every step",
        "figure_3",
        ("sweep_s", "decompositions_s"),
        "{0} s",
        "{1} s for the singular value decompositions alone",
    ),
    Speed(
        "a gradient step of matrix completion, d = 100,000, 5 million entries",
        "scale",
        ("step_times_faster",),
        "{0} times faster",
        "`jax.experimental.sparse`",
    ),
    Speed(
        "a refresh of GaLore, a layer 4096 wide at rank 128 (its subspace is not certified)",
        "galore",
        ("4096 wide, rank 128, default, cold: over_svd",),
        "{0} times faster",
        "`jnp.linalg.svd` alone",
        inverse=True,
    ),
    Speed(
        "a monitored sweep with checkpoints, 10,000 steps",
        "overhead",
        ("runner_s", "scan_s"),
        "{0} s",
        "{1} s for a bare jitted scan of the same steps",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the documents, or check them; return the exit code."""
    parser = OneLineParser(prog=COMMAND, description=__doc__, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file would change")
    options = parser.parse_args(arguments)
    return exit_code(lambda: kept(SOURCE, documents(SOURCE), check=options.check, command=COMMAND))


def documents(root: Path) -> dict[str, str]:
    """Both documents by path.

    Raises:
        InputError: A table cannot be read, or README.md lacks a mark.
    """
    text = (root / README).read_text(encoding="utf-8")
    parts = {"papers": papers_table(root), "speed": speed_table(root), "missing": missing(root)}
    return {README: filled(text, parts, README), FIGURES: figures_page(root)}


# What is between the marks. -------------------------------------------------------------------------------------------


def papers_table(root: Path) -> list[str]:
    """A row for each paper: its law, and the verdicts over all published tables of its configs."""
    rows = [_paper(paper, PAPERS[paper], root) for paper in PAPERS]
    note = (
        "Counted over all published tables; rows about the code alone (checks) are left out. A disputed sentence is "
        "printed in a paper: we refute it, or it stands. The last column counts rows of both kinds."
    )
    return [*_table(PAPERS_HEAD, rows), "", note]


def _paper(module: str, paper: Paper, root: Path) -> tuple[str, ...]:
    counts = Counter(_status(row) for row in _rows(paper, root) if row.kind != "check")
    named = f"{paper.name} ([arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv}))"
    places = f"{named}; [its page](docs/papers/{module}.md)"
    verdicts = [counts[status] for status in ("holds", "fails", "refuted", "stands")]
    verdicts.append(sum(counts[status] for status in WITHOUT_VERDICT))
    return (places, paper.law, *map(str, verdicts))


def _rows(paper: Paper, root: Path) -> Iterator[Claim]:
    """The rows of all published tables of the paper's configs."""
    own = {entry.name for entry in catalog.entries(root) if entry.paper == paper.name}
    for folder in published.folders(root):
        if folder.config in own:
            yield from published.claims(folder.name, root=root)


def _status(row: Claim) -> str:
    return "" if row.reason == BY_FIRST_VERSION else row.status


def speed_table(root: Path) -> list[str]:
    """A row for each of ``SPEED``."""
    return _table(SPEED_HEAD, [_speed(row, root) for row in SPEED])


def _speed(row: Speed, root: Path) -> tuple[str, ...]:
    numbers = [_number(row.benchmark, name, root) for name in row.rows]
    texts = [_two_digits(1 / number if row.inverse else number) for number in numbers]
    link = f"[{row.benchmark}](benchmarks/results/{row.benchmark}.md)"
    machine = str(published.benchmark(row.benchmark, root)["machine"])
    return row.what, row.measured.format(*texts), row.compared.format(*texts), machine, link


def _number(benchmark: str, name: str, root: Path) -> float:
    cell = published.benchmark_value(benchmark, name, root=root)
    try:
        return float(cell)
    except ValueError:
        raise InputError([f"benchmarks/results/{benchmark}.json: the row {name!r} has {cell!r}, no number"]) from None


def _two_digits(number: float) -> str:
    return published.in_prose(float(f"{number:.2g}"))


def missing(root: Path) -> list[str]:
    """What was never run, in short: on which devices, how many configs and paper profiles, and what 0.1 published."""
    kinds = Counter(_device(place) for place in published.folders(root) if not place.first_version)
    devices = f"all {sum(kinds.values())} runs that this version published were made on {' and '.join(sorted(kinds))}."
    if set(kinds) == {"CPUs"}:
        devices += " None is of a GPU or TPU."
    never, papers = _never_run(root)
    known = sum("paper" in entry.times for entry in catalog.entries(root))
    unrun = f"Paper profiles: {len(papers)} of {known} have no published run"
    old = [place.name for place in published.folders(root) if place.first_version]
    return [
        f"- Devices: {devices}",
        f"- {unrun} ([which, and how long each would take]({FIGURES}#paper-profiles-without-a-run)).",
        *([f"- Configs without a published run: {_listed(never)}."] if never else []),
        *([f"- Published by version 0.1 and not run since: {_listed(old)}."] if old else []),
    ]


def _never_run(root: Path) -> tuple[list[str], list[catalog.Entry]]:
    """The configs without any published run, and those whose paper profile has none."""
    known = catalog.entries(root)
    run = {(place.config, place.profile) for place in published.folders(root)}
    never = [entry.name for entry in known if not any(config == entry.name for config, _ in run)]
    return never, [entry for entry in known if "paper" in entry.times and (entry.name, "paper") not in run]


def _device(place: published.Folder) -> str:
    platform = str(_provenance(place).get("platform", "unknown devices"))
    return {"cpu": "CPUs", "gpu": "GPUs", "tpu": "TPUs"}.get(platform, platform)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


# The page of figures/. ------------------------------------------------------------------------------------------------


def figures_page(root: Path) -> str:
    """Which profile drew what, when, how long, and on what machine."""
    lines = [
        "# What is published, and how it was made",
        "",
        "A folder has the tables, the config, the provenance and the pictures of one run. A profile has no pictures of",
        "its own where those of the cpu profile show the same. `make figures` runs every config's cpu profile and",
        f"publishes it; `{COMMAND}` writes this page from each folder's provenance.json.",
        "",
        *_table(FIGURES_HEAD, [_folder(place) for place in published.folders(root)]),
        "",
        "## Paper profiles without a run",
        "",
        "Their times on two cores are estimates, unless another machine is named.",
        "",
        *_table(UNRUN_HEAD, [_unrun(entry) for entry in _never_run(root)[1]]),
    ]
    return "\n".join(lines) + "\n"


def _unrun(entry: catalog.Entry) -> tuple[str, ...]:
    config = f"[`{entry.name}`](../configs/{entry.name}.py)"
    return config, entry.figure, entry.times["paper"].removeprefix("about ")


def _folder(place: published.Folder) -> tuple[str, ...]:
    config = f"[`{place.config}`](../configs/{place.config}.py)"
    named = f"[`{place.name}`]({place.name})", config, place.profile, str(len(list(place.path.glob("*.png"))))
    if place.first_version:
        return (*named, "by version 0.1", "-", "-", "-")
    record = _provenance(place)
    seconds = [float(record.get(name) or "nan") for name in ("compile_s", "run_s")]
    time = catalog.in_words(sum(seconds)) if math.isfinite(sum(seconds)) else "-"
    machine = f"{record['device_count']} x {record['device_kind']}" if "device_kind" in record else "-"
    versions = record.get("versions", {})
    return (*named, str(record.get("end", "-"))[:10], time, machine, _versions(versions))


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("python", "jax") if name in versions) or "-"


def _provenance(place: published.Folder) -> dict[str, Any]:
    file = place.path / "provenance.json"
    return json.loads(file.read_bytes()) if file.exists() else {}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *map(table_row, rows)]


if __name__ == "__main__":
    sys.exit(main())
