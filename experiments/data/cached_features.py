"""Features of a frozen network: computed once, in chunks that are kept in files."""

import hashlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.runner.store import replacing

__all__ = ["cached_features", "features_folder"]

CHUNK = 500


def features_folder() -> Path:
    """Features are kept in ``LAWLIB_CACHE``, else in ~/.cache/lawlib. The folder may be deleted at any time."""
    return Path(os.environ.get("LAWLIB_CACHE", "~/.cache/lawlib")).expanduser() / "features"


def cached_features(
    extract: Callable[[np.ndarray], np.ndarray], images: np.ndarray, identity: str, folder: Path
) -> np.ndarray:
    """``extract`` of images (N, ...), one row each, chunk by chunk; a chunk whose file is in the folder is read.

    A file's name is the hash of ``identity`` and of the chunk's images. ``identity`` must name everything that
    ``extract`` depends on, so that another network or size has other files. A file begins with the hash of its content;
    where they do not match, the chunk is computed again. Chunks computed before an interruption are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        path = folder / hashlib.sha256(identity.encode() + chunk.tobytes()).hexdigest()[:32]
        found = _read(path)
        if found is None:
            print(f"features: {start} of {len(images)} images", file=sys.stderr, flush=True)
            found = extract(chunk)
            _write(path, found)
        rows.append(found)
    return np.concatenate(rows)


def _read(path: Path) -> np.ndarray | None:
    if not path.exists():
        return None
    raw = path.read_bytes()
    digest, content = raw[:32], raw[32:]
    return np.load(io.BytesIO(content)) if hashlib.sha256(content).digest() == digest else None


def _write(path: Path, rows: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, rows)
    with replacing(path) as partial:
        partial.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
