"""Where a run is from: commit, versions, device, times and data, as far as its provenance says."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.runner.finished import FinishedRun, command
from experiments.runner.integrity import digest_file

__all__ = ["Download", "downloads", "facts", "wall_time"]

FILES = ("claims.json", "summary.json", "config.json")


class Download(NamedTuple):
    """A file of the run folder; ``data`` is its content in base64."""

    name: str
    file: str
    data: str


def facts(run: FinishedRun) -> list[tuple[str, str]]:
    """Names and values, of those that are known."""
    known = run.provenance
    if not known:
        return [("provenance", "not known: provenance.json was lost")]
    rows = [
        ("commit", _commit(known)),
        ("device", _joined(f"{known.get('device_count')} x", known.get("device_kind"), f"({known.get('platform')})")),
        ("wall time", _times(known)),
        ("seeds", f"{run.config.get('seed')} and the following ones ({run.config.get('num_seeds')})"),
        ("started", str(known.get("start", ""))[:19].replace("T", " ")),
        ("versions", _pairs(known.get("versions"))),
        ("numerics", _numerics(known)),
        ("data", _pairs(known.get("sources"))),
        ("command", command(known, Path("runs") / run.name)),
        ("results.nc, SHA-256", _digest(run)),
    ]
    return [(name, text) for name, text in rows if text]


def downloads(run: FinishedRun, name: str) -> list[Download]:
    """The files of a run that a page hands on."""
    contents = {file: (run.path / file).read_bytes() for file in FILES}
    return [Download(f"{name}-{file}", file, base64.b64encode(data).decode()) for file, data in contents.items()]


def wall_time(run: FinishedRun) -> str:
    """How long the run took, in words; empty if that is not known."""
    spent = [run.provenance.get(name) for name in ("compile_s", "run_s")]
    numbers = [float(value) for value in spent if isinstance(value, int | float)]
    return _in_words(sum(numbers)) if len(numbers) == len(spent) else ""


def _times(known: Mapping[str, Any]) -> str:
    spent = [known.get(name) for name in ("compile_s", "run_s")]
    texts = [_in_words(value) if isinstance(value, int | float) else "not known" for value in spent]
    starts = len(known.get("starts", ()))
    return f"{texts[0]} compiling, {texts[1]} running" + (f", in {starts} starts" if starts > 1 else "")


def _in_words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _commit(known: Mapping[str, Any]) -> str:
    changes = ", with changes that were not committed" if known.get("git_clean") is False else ""
    return f"{known['git_commit']}{changes}" if known.get("git_commit") else ""


def _numerics(known: Mapping[str, Any]) -> str:
    words = {"x64": "x64", "matmul_precision": "matmul precision", "prng_impl": "PRNG"}
    return _pairs({text: known[name] for name, text in words.items() if name in known})


def _digest(run: FinishedRun) -> str:
    if published := run.provenance.get("results_sha256"):
        return str(published)
    file = digest_file(run.path / "results.nc")
    return file.read_text().partition(" ")[0] if file.exists() else ""


def _pairs(record: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items()) if isinstance(record, Mapping) else ""


def _joined(*words: Any) -> str:
    return " ".join(str(word) for word in words)
