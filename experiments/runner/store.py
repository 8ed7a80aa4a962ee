"""The run folder: one process at a time, files replaced by rename, nothing created before the checks pass."""

import hashlib
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.runner.layout import differing, laid_out
from experiments.runner.lock import LockRefused, locked
from experiments.runner.provenance import environment

if TYPE_CHECKING:  # xarray takes half a second to import, and a refused run needs none of it
    import xarray as xr

__all__ = [
    "InputError",
    "RunFolder",
    "as_json",
    "digest",
    "open_results",
    "open_run",
    "read_digested",
    "replacing",
    "with_digest",
    "write_atomic",
    "write_json",
]

LOCK = ".lock"
# The layout of a run folder; version 0.1 wrote no number.
LAYOUT = 2
PARTIAL = ".partial-"
MAX_DIFFERENCES = 10


class InputError(Exception):
    """A run that must not start: ``problems`` has one line for each problem; nothing was created."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("\n".join(problems))
        self.problems = list(problems)


# Files ----------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that durably replaces ``path`` if the block raises nothing."""
    # Two processes may write the same file with the same content: each needs a temporary file of its own.
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        _fsync(partial)
        os.replace(partial, path)
        _fsync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` so that a reader sees the old file or the whole new one, also after a power cut."""
    with replacing(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as strict JSON, atomically; NumPy values become plain ones, NaN and infinities null."""
    write_atomic(path, as_json(value))


def as_json(value: Any) -> bytes:
    """The bytes of a JSON file: strict, NumPy values as plain ones, NaN and infinities as null."""
    return f"{laid_out(_plain(value))}\n".encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # a NumPy or JAX array, or a NumPy scalar
        return _plain(value.tolist())
    # JSON has no NaN: a reader in another language would refuse the whole file.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def digest(value: Any) -> str:
    """SHA-256 of bytes, or of the canonical JSON of anything else."""
    if not isinstance(value, bytes):
        value = json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(value).hexdigest()


def with_digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``record`` with its SHA-256 under "hash"; ValueError if that name is taken."""
    if "hash" in record:
        msg = 'the record has a field "hash": that name is reserved for its SHA-256'
        raise ValueError(msg)
    return {**_plain(record), "hash": digest(record)}


def read_digested(path: Path) -> dict[str, Any]:
    """Read a record of `with_digest`, without its hash; ValueError if the content does not match the hash."""
    record = json.loads(path.read_bytes())
    if not isinstance(record, dict) or record.pop("hash", None) != digest(record):
        msg = "the content does not match its hash"
        raise ValueError(msg)
    return record


# Opening --------------------------------------------------------------------------------------------------


@contextmanager
def open_run(path: str | os.PathLike[str], config: Mapping[str, Any]) -> Iterator["RunFolder"]:
    """Lock the run folder at ``path``, which is new or was made by the same config.

    The context releases the lock; if the process dies, the kernel does.

    Raises:
        InputError: The folder cannot be used; no file of a run was created.
    """
    folder = Path(path)
    _refuse(_obstacles(folder) or _strangers(folder, config))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError([f"{folder}: cannot be created: {error}"]) from error
    with _lock(folder):
        # Again: another process may have used the folder between the first check and the lock.
        _refuse(_strangers(folder, config))
        for leftover in folder.rglob(PARTIAL + "*"):
            leftover.unlink()
        if not (folder / "config.json").exists():
            write_json(folder / "config.json", _record(config))
        yield RunFolder(folder)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InputError(problems)


def _obstacles(folder: Path) -> list[str]:
    if any("\udc80" <= letter <= "\udcff" for letter in str(folder)):  # Python represents undecodable bytes like this
        return [f"{str(folder)!a}: its name is not UTF-8 text, so a run could not print it"]
    nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not nearest.is_dir():
        return [f"{folder}: {nearest} is a file; a run needs a folder or an unused path"]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f"{folder}: {nearest} cannot be written to"]
    return []


def _strangers(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Why an existing folder is not this run's: no config, a damaged one, or a different one."""
    file = folder / "config.json"
    if not os.path.exists(file):  # unlike Path.exists, returns False for a name too long for a file
        names = sorted(os.listdir(folder)) if os.path.exists(folder) else []
        # config.json may have come since: another process starts the same run.
        others = [name for name in names if name not in (LOCK, file.name) and not name.startswith(PARTIAL)]
        found = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        return [f"{folder}: is not a run folder: it has no config.json but contains {found}"] if others else []
    try:
        before = read_digested(file)
    except (OSError, ValueError) as error:
        return [f"{file}: cannot be trusted: {error}"]
    if before.get("layout") != LAYOUT:
        version = "a later version" if "layout" in before else "version 0.1"
        return [f"{folder}: was made by {version} of lawlib, which this version cannot read; choose another --workdir"]
    return [f"{folder}: made by another config: {line}" for line in _differences(before, _record(config))]


def _record(config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of config.json."""
    return with_digest({"layout": LAYOUT, **config})


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    changed = differing(before, {name: value for name, value in now.items() if name != "hash"})
    lines = [f"{path}: folder has {old}, this run wants {new}" for path, old, new in changed[:MAX_DIFFERENCES]]
    return lines + (
        [f"{len(changed) - len(lines)} more of {len(changed)} differences"] if changed[len(lines) :] else []
    )


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        with locked(folder / LOCK):
            yield
    except LockRefused as refused:
        raise InputError([f"{folder}: {refused}"]) from refused


# The folder -----------------------------------------------------------------------------------------------


class RunFolder:
    """A run folder that this process holds; made by `open_run`."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def is_complete(self) -> bool:
        """Whether both the results and the verdict exist."""
        return all((self.path / name).exists() for name in ("results.nc", "claims.json"))

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file of the folder, atomically."""
        write_json(self.path / name, value)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to log.jsonl, with the time (UTC, ISO 8601)."""
        line = json.dumps({"time": _now(), **_plain(record)}, allow_nan=False) + "\n"
        with (self.path / "log.jsonl").open("ab", buffering=0) as file:
            file.write(line.encode())

    def rewind_log(self, share: float) -> None:
        """Drop what log.jsonl reports beyond this share of the work, which is lost and done again, and a torn line."""
        file = self.path / "log.jsonl"
        if file.exists():
            whole = file.read_bytes()
            if (kept := _before(whole, share)) != whole:
                write_atomic(file, kept)

    def record_start(
        self,
        command: Sequence[str] | None = None,
        *,
        about: Mapping[str, Any] | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        """Add a start of the run to provenance.json: environment, sources of the data, command line and time.

        Args:
            command: The command line; that of this process if none is given.
            about: What `environment` returns, perhaps with more; taken from this process if it is not given.
            sources: Where the data are from, by name.
        """
        start = {**(about or environment()), "sources": dict(sources or {})}
        start |= {"command": _command(command or sys.orig_argv), "start": _now()}
        self._write_provenance([*self._starts(), {**start, "end": None, "compile_s": None, "run_s": None}])

    def record_end(self, *, compile_s: float, run_s: float) -> None:
        """Complete the newest start in provenance.json with its end and its wall seconds."""
        *earlier, latest = self._starts()
        self._write_provenance([*earlier, {**latest, "end": _now(), "compile_s": compile_s, "run_s": run_s}])

    def provenance(self) -> dict[str, Any]:
        """The content of provenance.json; empty if the file is missing or cannot be read."""
        starts = self._starts()
        return self._whole(starts) if starts else {}

    def _starts(self) -> list[dict[str, Any]]:
        file = self.path / "provenance.json"
        try:
            return json.loads(file.read_bytes())["starts"] if file.exists() else []
        except (ValueError, LookupError, TypeError) as error:
            warnings.warn(f"{file}: cannot be read ({error}); the earlier starts are lost", stacklevel=3)
            return []

    def _write_provenance(self, starts: list[dict[str, Any]]) -> None:
        self.write_json("provenance.json", {**self._whole(starts), "starts": starts})

    @staticmethod
    def _whole(starts: list[dict[str, Any]]) -> dict[str, Any]:
        """The newest start, with the time of the first one and the seconds of all."""
        spent = {name: sum(start[name] or 0.0 for start in starts) for name in ("compile_s", "run_s")}
        return {**starts[-1], "start": starts[0]["start"], **spent}

    def write_results(
        self, groups: Iterable[tuple[str, "xr.Dataset"]], attrs: Mapping[str, Any], name: str = "results.nc"
    ) -> None:
        """Write one netCDF group per (name, dataset), one in memory at a time; equal data give equal bytes.

        Every variable with elements has fletcher32 checksums, except numeric scalars, which HDF5 cannot chunk.
        """
        import xarray as xr

        with replacing(self.path / name) as partial:
            xr.Dataset(attrs=dict(attrs)).to_netcdf(partial, mode="w", engine="h5netcdf")
            for group, dataset in groups:
                encoding = _encoding(dataset)
                dataset.to_netcdf(partial, mode="a", group=group, engine="h5netcdf", encoding=encoding)
                del dataset  # before the next one is made

    @contextmanager
    def read_results(self, name: str = "results.nc") -> Iterator["xr.DataTree"]:
        """Open the results lazily; reading data that fail their checksum raises OSError."""
        with open_results(self.path / name) as tree:
            yield tree


def open_results(file: Path) -> "xr.DataTree":
    """Open results lazily, until they are closed; reading data that fail their checksum raises OSError."""
    import xarray as xr

    # No variable is a date, and a variable in "seconds" must stay a float.
    return xr.open_datatree(file, engine="h5netcdf", decode_times=False, decode_timedelta=False)


def _encoding(dataset: "xr.Dataset") -> dict[Any, dict[str, Any]]:
    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OSUT":
            # Characters, since HDF5 stores variable-length strings outside the checksummed chunks.
            encoding[name] = {"dtype": "S1", "fletcher32": variable.size > 0}
        else:
            encoding[name] = {"fletcher32": variable.ndim > 0 and variable.size > 0}
    return encoding


def _before(log: bytes, share: float) -> bytes:
    """The lines up to the first that is no whole record or reports more than this share.

    Of a program whose compilation comes last nothing was done: it is compiled, and reported, again.
    """
    kept, done = [], 0
    for line in log.splitlines(keepends=True):
        try:
            record = json.loads(line)
            if not line.endswith(b"\n") or record["share"] > share:
                break
            done = done if record["doing"] == "compiling" else len(kept) + 1
        except (ValueError, LookupError, TypeError):
            break
        kept.append(line)
    return b"".join(kept[:done])


def _command(arguments: Sequence[str]) -> list[str]:
    """Shorten absolute paths, which name the machine and its users, to the part below the current folder."""
    here = os.getcwd() + os.sep
    return [re.sub(r"(?<![\w.~:/-])/(?:[^/\s'\",]+/)*", ".../", text.replace(here, "")) for text in arguments]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
