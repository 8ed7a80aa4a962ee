"""What is published, for prose and pages: claims, numbers, pictures, configs and benchmarks of a checkout, by name.

Everything is read from ``figures/`` and ``benchmarks/results/`` below ``root``, and nothing is computed. A name that
does not exist is an InputError of one line that has the nearest name that does.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from experiments.papers import PAPERS
from experiments.papers.item import Paper
from experiments.runner import catalog, settings
from experiments.runner.captions import caption_of
from experiments.runner.checkout import SOURCE
from experiments.runner.claims import Claim
from experiments.runner.fields import nearest
from experiments.runner.finished import read
from experiments.runner.first_tables import BY_FIRST_VERSION, of_first_version, read_first_table
from experiments.runner.spec import TRIAL, published_name
from experiments.runner.store import InputError

__all__ = [
    "ConfigEntry",
    "Exhibit",
    "Folder",
    "benchmark",
    "benchmark_value",
    "benchmarks",
    "claims",
    "configs",
    "experiment_of",
    "folder",
    "folders",
    "in_prose",
    "measured",
    "named",
    "names",
    "picture",
    "pictures",
    "shown",
]

Named = TypeVar("Named")
# What `measured` can be asked for.
NUMBERS = ("measured", "bound", "members", "spread")
# Digits of a number in a benchmark's table, and in prose.
TABLE_DIGITS, PROSE_DIGITS = 4, 3
# From here on prose has powers of ten.
LARGE = 1e6


class Folder(NamedTuple):
    """A folder below figures/: what one profile of a config published.

    Attributes:
        name: The folder's name.
        config: The config's name.
        profile: Its profile.
        path: Where the folder is.
        first_version: Version 0.1 published it: pictures and claims.md alone.
    """

    name: str
    config: str
    profile: str
    path: Path
    first_version: bool


class Exhibit(NamedTuple):
    """A published picture: its file, what is seen in it, and a text for those who do not see it."""

    folder: Folder
    name: str
    file: Path
    caption: str
    alt: str


class ConfigEntry(NamedTuple):
    """A config of a paper and what it published; the first picture of its first folder that has one.

    ``verdicts`` counts the rows of ``published``, the folder of the cpu profile or else of the first profile there is,
    and ``time`` is what that run took, in words.
    """

    name: str
    title: str
    figure: str
    paper: str
    published: Folder | None
    verdicts: Mapping[str, int]
    time: str
    thumbnail: Exhibit | None


# Folders and claims. --------------------------------------------------------------------------------------------------


def folders(root: Path = SOURCE) -> list[Folder]:
    """The published folders, those of one config together: NAME for its cpu profile, NAME_PROFILE for others.

    Those of smoke profiles are no publications, and are left out.

    Raises:
        InputError: A folder is of no profile of any config.
    """
    profiles = {file.stem: catalog.profiles(file.read_bytes()) for file in (root / "configs").glob("[!._]*.py")}
    known = {published_name(f"{name}.py:{each}"): (name, each) for name, own in profiles.items() for each in own}
    paths = sorted(path for path in (root / "figures").glob("[!.]*") if path.is_dir())
    if problems := [_stray(path.name, profiles, known) for path in paths if path.name not in known]:
        raise InputError(problems)
    found = [Folder(path.name, *known[path.name], path, of_first_version(path)) for path in paths]
    return sorted((each for each in found if each.profile != TRIAL), key=lambda each: (each.config, each.name))


def _stray(name: str, profiles: Mapping[str, Sequence[str]], known: Iterable[str]) -> str:
    """Why a folder below figures/ cannot be read, and what can be done."""
    config = name if name in profiles else name.rpartition("_")[0]
    why = f"there is no config of this name{nearest(name, known)}"
    if config in profiles:
        profile = "cpu" if name == config else name.removeprefix(f"{config}_")
        why = f"configs/{config}.py has no profile {profile} (it has {', '.join(profiles[config]) or 'none'})"
    return f"figures/{name}: {why}; remove the folder, or rename it to CONFIG or CONFIG_PROFILE"


def names(root: Path = SOURCE) -> list[str]:
    """The names of the published folders."""
    return [each.name for each in folders(root)]


def folder(name: str, root: Path = SOURCE) -> Folder:
    """The published folder of this name.

    Raises:
        InputError: There is none.
    """
    return named({each.name: each for each in folders(root)}, name, "figures: there is no published folder")


def experiment_of(place: Folder) -> str:
    """The experiment that a folder is of; the folders of version 0.1 have no config, and the config's file says it."""
    if place.first_version:
        root = place.path.parents[1]
        return settings.read(f"{root / 'configs' / place.config}.py:{place.profile}").experiment
    return read(place.path).config.experiment


def claims(name: str, ids: Iterable[str] = (), root: Path = SOURCE) -> tuple[Claim, ...]:
    """The rows of a published table, all or those that ids name; ``T1.value`` names ``T1.value[case1]`` too.

    Raises:
        InputError: The folder, or a row, does not exist, or the table cannot be read.
    """
    rows = _rows(folder(name, root))
    wanted = [_of_id(rows, id, name) for id in ids]
    if not wanted:
        return rows
    chosen = {row.id for own in wanted for row in own}
    return tuple(row for row in rows if row.id in chosen)


def _rows(place: Folder) -> tuple[Claim, ...]:
    return read_first_table(place.path) if place.first_version else read(place.path).claims


def _of_id(rows: Sequence[Claim], id: str, name: str) -> list[Claim]:
    found = [row for row in rows if id in (row.id, row.id.partition("[")[0])]
    if not found:
        known = dict.fromkeys(each for row in rows for each in (row.id, row.id.partition("[")[0]))
        raise InputError([f"figures/{name}: has no claim {id}{nearest(id, known)}"])
    return found


def measured(name: str, id: str, what: str = "measured", root: Path = SOURCE) -> str:
    """A number of one claim, for running text: ``measured``, its ``bound``, its ``members``, or its ``spread``.

    Raises:
        InputError: The claim does not exist or has no such number, or the id names several.
    """
    if what not in NUMBERS:
        raise InputError([f"{name} {id}: there is no {what}{nearest(what, NUMBERS)}; allowed: {', '.join(NUMBERS)}"])
    row, *others = claims(name, (id,), root)
    if others:
        ids = ", ".join(each.id for each in (row, *others[:2])) + (", ..." if others[2:] else "")
        raise InputError([f"figures/{name}: {id} names {len(others) + 1} claims; give one: {ids}"])
    value = getattr(row, what)
    if value is None or value == ():
        raise InputError([f"figures/{name}: the claim {id} ({row.status}) has no {what}"])
    if what == "bound":
        return f"{value:g}"
    return ", ".join(map(in_prose, value)) if what == "spread" else in_prose(value)


def in_prose(value: float) -> str:
    """A number with three digits: 0.0123, 76.5, 19,600, 8.1e-15; with more where it would become 1, as 0.9995."""
    digits = PROSE_DIGITS
    while value not in (1, -1) and abs(float(f"{value:.{digits}g}")) == 1:
        digits += 1
    rounded = float(f"{value:.{digits}g}")
    if not math.isfinite(value) or 0 < abs(value) < 1e-3:
        return f"{value:.{digits}g}"
    if value == int(value) and abs(value) < LARGE:
        return f"{int(value):,}"
    return f"{rounded:,}".removesuffix(".0") if abs(rounded) < LARGE else f"{value:.{digits}g}"


# Pictures. ------------------------------------------------------------------------------------------------------------


def pictures(name: str, root: Path = SOURCE) -> list[str]:
    """The names of the pictures of a published folder.

    Raises:
        InputError: There is no such folder.
    """
    return _stems(folder(name, root))


def picture(name: str, stem: str, root: Path = SOURCE) -> Exhibit:
    """A published picture with its caption and its alternative text.

    Raises:
        InputError: There is no such folder or picture.
    """
    return _exhibit(folder(name, root), stem)


def _stems(place: Folder) -> list[str]:
    return sorted(file.stem for file in place.path.glob("*.png"))


def _exhibit(place: Folder, stem: str) -> Exhibit:
    known = {each: place.path / f"{each}.png" for each in _stems(place)}
    file = named(known, stem, f"figures/{place.name}: there is no picture")
    caption = caption_of(experiment_of(place), stem)
    if caption is None:
        raise InputError([f"figures/{place.name}/{stem}.png: its experiment has no caption for it"])
    return Exhibit(place, stem, file, *caption)


# Configs. -------------------------------------------------------------------------------------------------------------


def configs(paper: str, only: Iterable[str] = (), root: Path = SOURCE) -> list[ConfigEntry]:
    """The configs of a paper, a module of experiments/papers, in the order in which its items name them.

    Args:
        paper: The module's name, ``parsimony``.
        only: Patterns of names of configs; all, if there are none.
        root: The checkout.

    Raises:
        InputError: There is no such paper, or a pattern names no config of it.
    """
    about = named(PAPERS, paper, "experiments/papers: there is no paper")
    own = {entry.name: entry for entry in catalog.entries(root) if entry.paper == about.name}
    order = [name for name in _order(about) if name in own] + sorted(own)
    patterns = list(only)
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in own):
            raise InputError([f"no config of {about.name} is named {pattern}{nearest(pattern, own)}"])
    chosen = [name for name in dict.fromkeys(order) if not patterns or any(fnmatch(name, p) for p in patterns)]
    published = folders(root)
    return [_config_entry(own[name], [each for each in published if each.config == name]) for name in chosen]


def _order(paper: Paper) -> Iterator[str]:
    return (config for item in paper.items for config in item.claims)


def _config_entry(entry: catalog.Entry, published: Sequence[Folder]) -> ConfigEntry:
    main = min(published, key=lambda each: each.profile != "cpu", default=None)
    rows = _rows(main) if main else ()
    counts = Counter(row.status for row in rows if row.reason != BY_FIRST_VERSION)
    drawn = next(((each, stems[0]) for each in published if (stems := _stems(each))), None)
    time = entry.times[main.profile if main else "cpu"]
    thumbnail = _exhibit(*drawn) if drawn else None
    return ConfigEntry(entry.name, entry.title, entry.figure, entry.paper, main, counts, time, thumbnail)


# Benchmarks. ----------------------------------------------------------------------------------------------------------


def benchmarks(root: Path = SOURCE) -> list[str]:
    """The names of the benchmarks with published tables."""
    return sorted(file.stem for file in (root / "benchmarks" / "results").glob("*.json"))


def benchmark(name: str, root: Path = SOURCE) -> dict[str, Any]:
    """A benchmark: ``title``, ``introduction``, ``machine`` and ``tables``, each with ``title``, ``columns``, ``rows``.

    Raises:
        InputError: There is no such benchmark, or its file is damaged.
    """
    known = {each: root / "benchmarks" / "results" / f"{each}.json" for each in benchmarks(root)}
    file = named(known, name, "benchmarks/results: there is no benchmark")
    page: Any = None
    try:
        page = json.loads(file.read_bytes())
        problem = _missing(page)
    except (OSError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
    if problem:
        remedy = f"git checkout restores it, and python -m benchmarks.{name} measures it anew"
        raise InputError([f"benchmarks/results/{name}.json: is damaged ({problem}); {remedy}"])
    return page


def _missing(page: Any) -> str:
    """What the page of a benchmark lacks; nothing if it is whole."""
    if not isinstance(page, Mapping) or not {"title", "introduction", "machine", "tables"} <= page.keys():
        return "it is no page with title, introduction, machine and tables"
    for table in page["tables"] if isinstance(page["tables"], list) else [None]:
        if not isinstance(table, Mapping) or not {"columns", "rows"} <= table.keys():
            return "a table has no columns or no rows"
        if any(not isinstance(row, list) or len(row) != len(table["columns"]) for row in table["rows"]):
            return "a row has not a cell for each column"
    return ""


def benchmark_value(name: str, row: str, column: str | None = None, root: Path = SOURCE) -> str:
    """A cell of a benchmark's tables as they show it: of the row whose first cell is ``row``.

    Args:
        name: The benchmark.
        row: The row's first cell, as the table shows it.
        column: The head of the column; the second one by default.
        root: The checkout.

    Raises:
        InputError: There is no such benchmark, row or column, or there are several such rows.
    """
    found = [(own, line) for own in benchmark(name, root)["tables"] for line in own["rows"] if shown(line[0]) == row]
    if len(found) > 1 and column is not None:
        found = [(own, line) for own, line in found if column in own["columns"]] or found[:1]
    if len(found) != 1:
        known = [shown(line[0]) for own in benchmark(name, root)["tables"] for line in own["rows"]]
        problem = f"has {len(found)} rows {row!r}" if found else f"has no row {row!r}{nearest(row, known)}"
        raise InputError([f"benchmarks/results/{name}: {problem}"])
    table, line = found[0]
    if column is None:
        return shown(line[1])
    places = {head: place for place, head in enumerate(table["columns"])}
    return shown(line[named(places, column, f"benchmarks/results/{name}: the table of {row!r} has no column")])


def shown(cell: float | int | str) -> str:
    """A cell as the table shows it: a text or a whole number as it is, any other number with four digits."""
    return f"{cell:.{TABLE_DIGITS}g}" if isinstance(cell, float) else str(cell)


# Names. ---------------------------------------------------------------------------------------------------------------


def named(known: Mapping[str, Named], name: str, problem: str) -> Named:
    """What has this name; an InputError that begins with ``problem`` and ends with the nearest name, if nothing has."""
    if name not in known:
        raise InputError([f"{problem} {name}{nearest(name, known)}"])
    return known[name]
