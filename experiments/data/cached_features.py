"""Features of a frozen network: computed once, in chunks that are kept in files."""

import hashlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.runner.files import replacing

__all__ = ["cached_features", "features_folder"]

CHUNK = 500


def features_folder() -> Path:
    """The folder of cached features, below ``LAWLIB_CACHE`` or ~/.cache/lawlib; it may be deleted at any time."""
    return Path(os.environ.get("LAWLIB_CACHE", "~/.cache/lawlib")).expanduser() / "features"


def cached_features(
    extract: Callable[[np.ndarray], np.ndarray], images: np.ndarray, identity: str, folder: Path
) -> np.ndarray:
    """``extract`` of images (N, ...), one row per image, chunk by chunk; a chunk that has a file is read from it.

    A file's name is the hash of ``identity`` and of the chunk's images. ``identity`` must name everything that
    ``extract`` depends on, so that another network or size uses other files. A file begins with the hash of its
    content; if they do not match, the chunk is computed again. An interruption loses only the current chunk.
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
