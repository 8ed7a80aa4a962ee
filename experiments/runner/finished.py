"""A finished run folder, or the published part of one, as its readers see it; nothing is locked or written."""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.checkout import SOURCE
from experiments.runner.claims import Claim, from_json
from experiments.runner.fields import nearest
from experiments.runner.files import read_digested
from experiments.runner.integrity import DAMAGE, MALFORMED
from experiments.runner.store import LAYOUT, InputError, open_results, unreadable

if TYPE_CHECKING:  # the tables of a run are read without the half second that xarray takes to import
    import xarray as xr

    from experiments.runner.shards.cut import Shard

__all__ = ["FinishedRun", "as_config", "read", "read_config"]

RESULTS = "results.nc"


@dataclass(frozen=True, eq=False, repr=False)
class FinishedRun:
    """What a run left in its folder; made by `read`.

    Attributes:
        path: The folder.
        config: The config that was run, locked; as a config file builds it.
        claims: The rows of the claims table, in order.
        provenance: Versions, device, source, data, command and times; empty if the file was lost.
        summary: Numbers without a bound: "runs", a row for each run, and "comparisons" of runs.
        shard: The part of the config that was run, if it is only a part: without claims and summary until it is merged.
    """

    path: Path
    config: ConfigDict
    claims: tuple[Claim, ...]
    provenance: dict[str, Any]
    summary: dict[str, Any]
    shard: "Shard | None" = None

    def __repr__(self):
        return f"<{self.name}: {self.config.experiment}, {len(self.claims)} claims>"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def has_results(self) -> bool:
        """Whether the folder has results.nc; a published folder has none."""
        return (self.path / RESULTS).exists()

    @cached_property
    def results(self) -> "xr.DataTree":
        """The observations, a group for each variant; opened when first asked for, and read each time they are used.

        Data that fail their checksum raise OSError where they are read.

        Raises:
            InputError: There is no results.nc, or it is cut short, damaged or of another run.
        """
        if not self.has_results:
            again = command(self.provenance, self.path) or _of_config(self.path)
            raise InputError([f"{self.path}: has no {RESULTS} (a published folder has none); to make it, run {again}"])
        results = open_results(self.path / RESULTS, self._anew())
        with self._reading():
            config = json.loads(results.attrs["config"])
            seeds = {name: node.coords.get("seed") for name, node in results.children.items()}
            found = {name: own.values.tolist() if own is not None else [] for name, own in seeds.items()}
        ours = {name: list(self._seeds(own)) for name, own in self.variants.items()}
        if config != json.loads(json.dumps(settings.to_plain(self.config))) or list(found.items()) != list(
            ours.items()
        ):
            raise InputError([f"{self.path / RESULTS}: is of another config than config.json; {self._anew()}"])
        return results

    @property
    def variants(self) -> dict[str, ConfigDict]:
        """The config of each variant, by the name of its group in the results."""
        each = settings.expand(self.config)
        return {name: own for name, own in each if self.shard is None or name == self.shard.variant}

    @property
    def variables(self) -> dict[str, "xr.DataArray"]:
        """Every variable by name, as the first variant has it that has it; its attributes hold units and meaning."""
        found: dict[str, Any] = {}
        for node in self.results.children.values():
            found = {str(name): values for name, values in node.data_vars.items()} | found
        return found

    def observed(self, variant: str, *names: str, at: Mapping[Any, Sequence[int]] | None = None) -> "xr.Dataset":
        """The variables of a variant (all, if none is named), in memory; the next call keeps nothing of them.

        Args:
            variant: The variant's name.
            *names: The variables.
            at: Places on some axes, which are all that is read of them.

        Raises:
            InputError: The data fail their checksum.
        """
        node = self.results[variant].to_dataset()
        with self._reading():
            return (node[list(names)] if names else node).isel(at or {}, missing_dims="ignore").compute()

    def _seeds(self, config: ConfigDict) -> range:
        return self.shard.seeds if self.shard else range(config.num_seeds)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise InputError([unreadable(self.path / RESULTS, str(error), self._anew())]) from error

    def _anew(self) -> str:
        return f"delete the file and run {command(self.provenance, self.path) or 'the same command'} again"


def read(path: str | os.PathLike[str]) -> FinishedRun:
    """Read the folder of a finished run, or of a shard, or one that ``--publish`` made; results.nc is not opened.

    Raises:
        InputError: The folder is missing, foreign, of another layout, unfinished or damaged; one line for each problem.
    """
    folder = Path(os.path.expanduser(os.fspath(path)))
    try:
        problems = _no_run(folder)
    except OSError as error:
        problems = [f"{folder}: cannot be read: {error}"]
    if problems:
        raise InputError(problems)
    config, problems = read_config(folder)
    provenance, lost = _part(folder / "provenance.json", _provenance, {}, "delete it to read the run without it")
    problems += lost
    if "shards" in config:
        merged = f"python -m experiments.merge {shlex.quote(str(folder))}"
        raise InputError([f"{folder}: holds the shards of a run; give one of them, or merge them: {merged}"])
    if "shard" in config:
        return _shard(folder, config, provenance, problems)
    if missing := [name for name in ("claims.json", "summary.json") if not (folder / name).exists()]:
        raise InputError([*problems, _unfinished(folder, missing, provenance)])
    replot = command(provenance, folder, "--replot") or "the same command with --replot"
    remedy = f"write it anew with {replot}" if (folder / RESULTS).exists() else "restore it"
    claims, damaged = _part(folder / "claims.json", from_json, (), remedy)
    summary, broken = _part(folder / "summary.json", _summary, {}, remedy)
    if problems := [*problems, *damaged, *broken]:
        raise InputError(problems)
    return FinishedRun(folder, as_config(config).lock(), claims, provenance, summary)


def _shard(folder: Path, config: dict[str, Any], provenance: dict[str, Any], problems: Sequence[str]) -> FinishedRun:
    from experiments.runner.shards.cut import Shard  # with JAX behind it

    shard = Shard.of(config.pop("shard"))
    if not (folder / RESULTS).exists():
        problems = [
            *problems,
            f"{folder}: the shard is not finished: it has no {RESULTS}; launch the same command again",
        ]
    if problems:
        raise InputError(problems)
    return FinishedRun(folder, as_config(config).lock(), (), provenance, {"runs": [], "comparisons": {}}, shard)


def command(provenance: Mapping[str, Any], folder: Path, *flags: str) -> str:
    """The command that the run was last started with, for this folder; empty if that is not known."""
    starts = provenance.get("starts")
    words = starts[-1].get("command", ()) if starts else ()
    if "experiments.main" not in words:
        return ""
    kept, rest = [], iter(words[words.index("experiments.main") + 1 :])
    for word in rest:
        if word == "--workdir":
            next(rest, None)
        elif word != "--replot" and not word.startswith("--workdir="):
            kept.append(word)
    return shlex.join(["python", "-m", "experiments.main", *kept, f"--workdir={folder}", *flags])


# What is wrong with a folder. -----------------------------------------------------------------------------------------


def _no_run(folder: Path) -> list[str]:
    """Why a path is no run folder of this version."""
    if not os.path.lexists(folder):
        beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
        near = nearest(folder.name, (other.name for other in beside if other.is_dir()))
        return [f"{folder}: there is no such folder{near}"]
    if not folder.is_dir():
        return [f"{folder}: is not a folder; give the run folder, such as {folder.parent}"]
    if (folder / "config.json").exists():
        return []
    names = sorted(os.listdir(folder))
    if runs := [name for name in names if (folder / name / "config.json").exists()]:
        return [f"{folder}: is not a run folder, but holds some; give one of them: {_some(runs)}"]
    if "claims.md" in names:
        return [f"{folder}: was published by version 0.1 of lawlib, without a config; {_run_again()}"]
    found = f"it has no config.json but contains {_some(names)}" if names else "it is empty"
    return [f"{folder}: is not a run folder: {found}"]


def read_config(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What config.json of a run folder records, and why it cannot be used; a folder of another layout is refused."""
    file = folder / "config.json"
    try:
        record = read_digested(file)
    except (OSError, ValueError) as error:
        return {}, [f"{file}: cannot be trusted: {error}; restore it, or run the config again in another folder"]
    layout = record.pop("layout", None)
    if layout != LAYOUT:
        version = "version 0.1" if layout is None else "a later version"
        problem = f"{folder}: was made by {version} of lawlib, which this version cannot read; {_run_again()}"
        raise InputError([problem])  # whatever else is missing, that version knows
    return record, []


def _unfinished(folder: Path, missing: Sequence[str], provenance: Mapping[str, Any]) -> str:
    lacks = [*missing, *([] if (folder / RESULTS).exists() else [RESULTS])]
    resume = command(provenance, folder) or "the command that started it"
    found = f"the run is not finished: it has no {', '.join(lacks)}"
    return f"{folder}: {found}; unless it is running, resume it with {resume}"


def _part(file: Path, parse: Callable[[str], Any], lost: Any, remedy: str) -> tuple[Any, list[str]]:
    """A file's content as ``parse`` reads it, ``lost`` if there is no file, and what is wrong with it."""
    if not file.exists():
        return lost, []
    try:
        return parse(file.read_text()), []
    except (OSError, *MALFORMED) as error:
        return lost, [f"{file}: is damaged ({type(error).__name__}: {' '.join(str(error).split())}); {remedy}"]


def _record(text: str) -> dict[str, Any]:
    record = json.loads(text)
    if not isinstance(record, dict):
        msg = "it holds no record"
        raise TypeError(msg)
    return record


def _provenance(text: str) -> dict[str, Any]:
    record = _record(text)
    for start in record.get("starts", []):
        for word in start.get("command", []):
            _ = word.startswith("--")
    return record


def _summary(text: str) -> dict[str, Any]:
    summary = _record(text)
    for row in summary["runs"]:
        _ = row["run"], row["members"], row["diverged"], [column.keys() for column in row["columns"].values()]
    summary["comparisons"].values()
    return summary


def as_config(config: Mapping[str, Any]) -> ConfigDict:
    """The config with the tuples that JSON holds as lists."""

    def restored(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: restored(item) for name, item in value.items()}
        return tuple(map(restored, value)) if isinstance(value, list) else value

    return ConfigDict(restored(config))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _run_again() -> str:
    return "run its config again: python -m experiments.main --config=configs/NAME.py"


def _of_config(folder: Path) -> str:
    """The command of the config that a published folder is named for: NAME or NAME_PROFILE."""
    known = {path.stem for path in (SOURCE / "configs").glob("*.py")}
    name, _, profile = (folder.name, "", "") if folder.name in known else folder.name.rpartition("_")
    spec = f"{name}.py{f':{profile}' if profile else ''}" if name in known else "NAME.py"
    return f"python -m experiments.main --config=configs/{spec}"
