"""The run folder: one process at a time, files replaced by rename, nothing created before the checks pass."""

import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.runner.files import PARTIAL, plain, read_digested, replacing, with_digest, write_atomic, write_json
from experiments.runner.integrity import DAMAGE, MALFORMED, damage_of, digest_file, seal_of
from experiments.runner.layout import differing
from experiments.runner.lock import LockRefused, locked
from experiments.runner.netcdf import write_group
from experiments.runner.provenance import environment
from experiments.runner.setbacks import Setback, disk_full, ending_where_disk_is_full, is_full

if TYPE_CHECKING:  # xarray takes half a second to import, and a refused run needs none of it
    import xarray as xr

    from experiments.runner.results import Streamed

__all__ = ["InputError", "RunFolder", "check_folder", "make_folder", "open_results", "open_run", "unreadable"]

LOCK = ".lock"
# The layout of a run folder; version 0.1 wrote no number.
LAYOUT = 2
MAX_DIFFERENCES = 10
# What a run keeps under these names; of another kind they are somebody else's.
KEPT_FILES = ("config.json", "provenance.json", "results.nc", "results.nc.sha256", "claims.json", "claims.md")
KEPT_FILES += ("summary.json", "summary.md", "log.jsonl")
KEPT_FOLDERS = ("figures", "checkpoint")
ANEW = "delete the file and give the same command again, without --replot, to compute it anew"


class InputError(Exception):
    """A run that must not start: ``problems`` has one line for each problem; nothing was created."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("\n".join(problems))
        self.problems = list(problems)


# Opening --------------------------------------------------------------------------------------------------


@contextmanager
def open_run(path: str | os.PathLike[str], config: Mapping[str, Any]) -> Iterator["RunFolder"]:
    """Lock the run folder at ``path``, which is new or was made by the same config.

    The context releases the lock; if the process dies, the kernel does.

    Raises:
        InputError: The folder cannot be used; no file of a run was created. Or a file in it cannot be.
        Setback: There is no room, or the folder was moved away while the block lasted.
    """
    folder = Path(path)
    check_folder(folder, config)
    make_folder(folder)
    with _lock(folder):
        # Again: another process may have used the folder between the first check and the lock.
        _refuse(_strangers(folder, config))
        run = RunFolder(folder)
        try:
            for leftover in _leftovers(folder):
                leftover.unlink()
            if is_new := not (folder / "config.json").exists():
                write_json(folder / "config.json", _record(config))
            with _unless_refused(folder) if is_new else nullcontext():
                yield run
        except (InputError, Setback):
            raise
        except Exception as error:
            # Libraries have errors of their own for a folder that is gone.
            run.check_place()
            if isinstance(error, OSError) and (told := _of_folder(folder, error)):
                raise told from error
            raise


def check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError if a run of this config cannot use the folder; nothing is created."""
    _refuse(_obstacles(folder) or _strangers(folder, config) or _misplaced(folder))


def make_folder(folder: Path) -> None:
    """Create a folder that may exist; what forbids it is an InputError, or a Setback if there is no room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if is_full(error):
            raise disk_full(folder, 0) from error
        raise InputError([f"{folder}: cannot be created: {error}"]) from error


def _leftovers(folder: Path) -> list[Path]:
    """What a killed process had begun to write; folders of other runs that lie in this one are theirs."""
    own = [folder.glob(PARTIAL + "*"), *((folder / name).rglob(PARTIAL + "*") for name in KEPT_FOLDERS)]
    return list(chain(*own))


@contextmanager
def _unless_refused(folder: Path) -> Iterator[None]:
    """Remove the files of a run that is refused before it begins: the next command need not fit them."""
    try:
        yield
    except InputError:
        has_begun = any((folder / name).exists() for name in ("checkpoint", "results.nc"))
        for name in () if has_begun else ("config.json", "provenance.json", "log.jsonl"):
            (folder / name).unlink(missing_ok=True)
        raise


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


def _misplaced(folder: Path) -> list[str]:
    """A line for each name of a run that is taken by a folder instead of a file, or by a file instead of a folder."""
    wrong = [(name, "folder", "file") for name in KEPT_FILES if os.path.isdir(folder / name)]
    wrong += [(name, "file", "folder") for name in KEPT_FOLDERS if os.path.isfile(folder / name)]
    return [
        f"{folder / name}: is a {found}, and a run needs a {wanted} there; move it" for name, found, wanted in wrong
    ]


def _of_folder(folder: Path, error: OSError) -> Exception | None:
    """What an error of the system says of the run folder, as one line; nothing if it is not about it."""
    if is_full(error):
        return disk_full(Path(error.filename or folder), 0)
    if error.errno is None or not isinstance(error.filename, str) or not Path(error.filename).is_relative_to(folder):
        return None
    return InputError([f"{error.filename}: cannot be used: {error.strerror}; mend or move it, and try again"])


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
        return [f"{file}: cannot be trusted: {error}; restore it, or choose another --workdir"]
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
        if is_full(refused):
            raise disk_full(folder / LOCK, 0) from refused
        raise InputError([f"{folder}: {refused}"]) from refused


# The folder -----------------------------------------------------------------------------------------------


class RunFolder:
    """A run folder that this process holds; made by `open_run`."""

    def __init__(self, path: Path):
        self.path = path
        self._place = _place(path)

    def check_place(self) -> None:
        """Raise a `Setback` if the folder was removed, or renamed, since this process opened it."""
        if _place(self.path) != self._place:
            lost = "was removed or renamed while the run went on; put it back"
            msg = f"{self.path}: {lost} and give the same command again, which resumes the run"
            raise Setback(msg)

    @property
    def is_complete(self) -> bool:
        """Whether both the results and the verdict exist."""
        return all((self.path / name).exists() for name in ("results.nc", "claims.json"))

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file of the folder, atomically."""
        write_json(self.path / name, value)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to log.jsonl, with the time (UTC, ISO 8601)."""
        line = f"{json.dumps({'time': _now(), **plain(record)}, allow_nan=False)}\n".encode()
        file = self.path / "log.jsonl"
        self.check_place()
        with file.open("ab", buffering=0) as log:
            try:
                # The last bytes that a disk holds are written without an error.
                if log.write(line) == len(line):
                    return
            except OSError as error:
                if not is_full(error):
                    raise
        raise disk_full(file, len(line))

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
        self._write_provenance([*self.starts(), {**start, "end": None, "compile_s": None, "run_s": None}])

    def record_end(self, *, compile_s: float, run_s: float) -> None:
        """Complete the newest start in provenance.json with its end and its wall seconds; nothing if it was lost."""
        if not (starts := self.starts()):
            return
        *earlier, latest = starts
        self._write_provenance([*earlier, {**latest, "end": _now(), "compile_s": compile_s, "run_s": run_s}])

    def record_merged(self, start: Mapping[str, Any]) -> None:
        """Write provenance.json for results that were merged from several runs: one start, which tells of all."""
        self._write_provenance([{**start, "command": _command(sys.orig_argv)}])

    def provenance(self) -> dict[str, Any]:
        """The content of provenance.json; empty if the file is missing or cannot be read."""
        starts = self.starts()
        return self._whole(starts) if starts else {}

    def starts(self) -> list[dict[str, Any]]:
        """The starts of the run in provenance.json; none, with a warning, if it cannot be read."""
        file = self.path / "provenance.json"
        try:
            starts = json.loads(file.read_bytes())["starts"] if file.exists() else []
            _ = [(start["start"], start["compile_s"] or 0.0, start["run_s"] or 0.0) for start in starts]
        except MALFORMED as error:
            lost = f"cannot be read ({type(error).__name__}: {error}); the earlier starts and their times are lost"
            warnings.warn(f"{file}: {lost} unless you restore the file", stacklevel=3)
            return []
        return starts

    def _write_provenance(self, starts: list[dict[str, Any]]) -> None:
        self.write_json("provenance.json", {**self._whole(starts), "starts": starts})

    @staticmethod
    def _whole(starts: list[dict[str, Any]]) -> dict[str, Any]:
        """The newest start, with the time of the first one and the seconds of all."""
        spent = {name: sum(start[name] or 0.0 for start in starts) for name in ("compile_s", "run_s")}
        return {**starts[-1], "start": starts[0]["start"], **spent}

    def write_results(
        self,
        groups: Iterable[tuple[str, "xr.Dataset | Streamed"]],
        attrs: Mapping[str, Any],
        name: str = "results.nc",
        num_bytes: int = 0,
    ) -> None:
        """Write one netCDF group per (name, content), one at a time; equal content gives equal bytes.

        ``num_bytes`` is about the size of the file. Where there is no room for it the process ends.
        """
        import xarray as xr

        file = self.path / name
        with replacing(file, num_bytes) as partial:
            with ending_where_disk_is_full(file, partial, num_bytes):
                xr.Dataset(attrs=dict(attrs)).to_netcdf(partial, mode="w", engine="h5netcdf")
                for group, content in groups:
                    write_group(partial, group, content)
                    del content  # before the next one is made
            # First: results without their digest would be those of an older version, which kept none.
            write_atomic(digest_file(file), seal_of(partial, name))

    @contextmanager
    def read_results(self, name: str = "results.nc") -> Iterator["xr.DataTree"]:
        """Open the results lazily.

        Raises:
            InputError: The file is damaged; before anything is read of it, if its digest is beside it.
        """
        file = self.path / name
        tree = open_results(file, ANEW)
        with tree:
            try:
                yield tree
            except OSError as error:
                if error.errno is not None:  # of a file that the block uses
                    raise
                raise InputError([unreadable(file, str(error), ANEW)]) from error


def open_results(file: Path, remedy: str) -> "xr.DataTree":
    """Open results lazily, until they are closed; reading data that fail their checksum raises OSError.

    Raises:
        InputError: The file is damaged; the line ends with the remedy.
    """
    import xarray as xr

    if damage := damage_of(file):
        raise InputError([unreadable(file, damage, remedy)])
    try:
        # What is large is read again rather than kept. No variable is a date, and one in "seconds" must stay a float.
        return xr.open_datatree(file, engine="h5netcdf", cache=False, decode_times=False, decode_timedelta=False)
    except DAMAGE as error:
        raise InputError([unreadable(file, str(error), remedy)]) from error


def unreadable(file: Path, said: str, remedy: str) -> str:
    """The line about results that cannot be read."""
    return f"{file}: cannot be read, it is cut short or damaged ({' '.join(said.split())}); {remedy}"


def _place(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another that has its name; None if there is none."""
    try:
        found = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


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
