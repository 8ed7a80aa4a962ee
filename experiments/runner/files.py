"""Files that a reader sees whole or not at all: replaced by rename, and JSON that carries its own SHA-256."""

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from experiments.runner.layout import laid_out
from experiments.runner.setbacks import disk_full, is_full

__all__ = [
    "PARTIAL",
    "as_json",
    "digest",
    "plain",
    "read_digested",
    "replacing",
    "with_digest",
    "write_atomic",
    "write_json",
]

PARTIAL = ".partial-"
NO_FOLDER_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}


@contextmanager
def replacing(path: Path, num_bytes: int = 0) -> Iterator[Path]:
    """Yield a temporary path in the same folder that durably replaces ``path`` if the block raises nothing.

    ``num_bytes`` is the size of the file, where it is known before it is written.

    Raises:
        Setback: There is no room for it.
    """
    # Two processes may write the same file with the same content: each needs a temporary file of its own.
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        _fsync(partial)
        os.replace(partial, path)
        _fsync(path.parent)
    except OSError as error:
        if is_full(error):
            written = partial.stat().st_size if partial.exists() else 0
            raise disk_full(path, num_bytes or written) from error
        raise
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):  # nor is its folder
            partial.unlink()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems (of networks, and in user space) do not sync folders: their renames are as durable as that.
        if not (path.is_dir() and error.errno in NO_FOLDER_SYNC):
            raise
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` so that a reader sees the old file or the whole new one, also after a power cut.

    Raises:
        Setback: There is no room for it.
    """
    content = data.encode() if isinstance(data, str) else data
    with replacing(path, len(content)) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as strict JSON, atomically; NumPy values become plain ones, NaN and infinities null."""
    write_atomic(path, as_json(value))


def as_json(value: Any) -> bytes:
    """The bytes of a JSON file: strict, NumPy values as plain ones, NaN and infinities as null."""
    return f"{laid_out(plain(value))}\n".encode()


def plain(value: Any) -> Any:
    """The value in the types that JSON has: NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # a NumPy or JAX array, or a NumPy scalar
        return plain(value.tolist())
    # JSON has no NaN: a reader in another language would refuse the whole file.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def digest(value: Any) -> str:
    """SHA-256 of bytes, or of the canonical JSON of anything else."""
    if not isinstance(value, bytes):
        value = json.dumps(plain(value), sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(value).hexdigest()


def with_digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``record`` with its SHA-256 under "hash"; ValueError if that name is taken."""
    if "hash" in record:
        msg = 'the record has a field "hash": that name is reserved for its SHA-256'
        raise ValueError(msg)
    return {**plain(record), "hash": digest(record)}


def read_digested(path: Path) -> dict[str, Any]:
    """Read a record of `with_digest`, without its hash; ValueError if the content does not match the hash."""
    record = json.loads(path.read_bytes())
    if not isinstance(record, dict) or record.pop("hash", None) != digest(record):
        msg = "the content does not match its hash"
        raise ValueError(msg)
    return record
