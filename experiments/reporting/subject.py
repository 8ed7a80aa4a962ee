"""What a run is of: the config file that it was started with, and the figure and paper that this file names."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from experiments.runner import catalog, settings
from experiments.runner.checkout import SOURCE
from experiments.runner.finished import FinishedRun
from experiments.runner.layout import differing

__all__ = ["NO_PAPER", "Field", "Subject", "fields", "of", "variants"]

NO_PAPER = "Other runs"
GIVEN = re.compile(r"--config[= ](?:\S*/)?(?P<name>\w+)\.py(?::(?P<profile>\w+))?")
BESIDE = ("layout", "hash", "variants")


class Subject(NamedTuple):
    """The config of a run; empty texts where the checkout has no such file."""

    config: str = ""
    profile: str = ""
    title: str = ""
    figure: str = ""
    paper: str = NO_PAPER

    @property
    def sentence(self) -> str:
        """Title, figure and paper."""
        place = f"{self.figure} of {self.paper}" if self.figure else ""
        return ". ".join(filter(None, (self.title, place))) + ("." if self.title or place else "")


class Field(NamedTuple):
    """A field of the config, with its default where it differs."""

    path: str
    value: str
    default: str | None


def of(run: FinishedRun, known: Mapping[str, catalog.Entry]) -> Subject:
    """The subject of a run, among the configs of this checkout by name."""
    papers = [claim.paper for claim in run.claims]
    paper = max(papers, key=papers.count, default=NO_PAPER)
    for name, profile in _names(run):
        if entry := known.get(name):
            figure = entry.figure if entry.figure != catalog.NONE else ""
            return Subject(name, profile, entry.title, figure, entry.paper if figure else paper)
    return Subject(paper=paper)


def _names(run: FinishedRun) -> Iterator[tuple[str, str]]:
    """What may be the config and the profile: those of the command, and those that the folder is named for."""
    for start in reversed(run.provenance.get("starts", [])):
        if given := GIVEN.search(shlex.join(start.get("command", []))):
            yield given["name"], given["profile"] or "cpu"
    yield run.name, "cpu"
    for mark in ("-", "_"):
        name, _, profile = run.name.rpartition(mark)
        yield name, profile


def fields(run: FinishedRun, subject: Subject) -> list[Field]:
    """Every field but the variants, those that differ from the config file's default first."""
    own, default = _plain(settings.to_plain(run.config)), _default(run, subject)
    changed = {path: _shown(before) for path, before, _ in differing(default, own)} if default else {}
    rows = [Field(path, value, changed.get(path)) for path, value in _leaves(own)]
    return sorted(rows, key=lambda row: row.default is None)


def variants(run: FinishedRun) -> list[tuple[str, str]]:
    """The name of each variant, and the fields that it sets."""
    names = [name for name, _ in settings.expand(run.config)]
    own = [_leaves(_without_name(variant)) for variant in run.config.get("variants", ())]
    texts = [", ".join(f"{path} = {value}" for path, value in rows) for rows in own]
    return list(zip(names, texts, strict=False))


def _default(run: FinishedRun, subject: Subject) -> dict[str, Any]:
    """The default config of the same file, as JSON holds it; empty where there is none of the same experiment."""
    try:
        config = settings.read(f"{SOURCE / 'configs' / subject.config}.py") if subject.config else None
    except settings.ConfigError:
        return {}
    same = config is not None and config.get("experiment") == run.config.get("experiment")
    return _plain(settings.to_plain(config)) if same else {}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _listed(value) for name, value in config.items() if name not in BESIDE}


def _leaves(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every path with its value as a text."""
    return [(path, _shown(value)) for path, _, value in differing({}, record) if path]


def _listed(value: Any) -> Any:
    """The value as JSON has it, where a tuple of numbers is one leaf of its own."""
    if isinstance(value, Mapping):
        return {name: _listed(item) for name, item in value.items()}
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _shown(text: str) -> str:
    """The text of a JSON string, and any other JSON as it is."""
    return json.loads(text) if text.startswith('"') else text


def _without_name(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {path: _listed(value) for path, value in variant.items() if path != "name"}
