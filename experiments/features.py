"""What a frozen network makes of images: computed once, in chunks that are kept for the next time."""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.store import replacing

__all__ = ["cached_features", "features_folder"]

CHUNK = 500


def features_folder() -> Path:
    """Where features are kept: ``LAWLIB_CACHE``, else ~/.cache/lawlib."""
    return Path(os.environ.get("LAWLIB_CACHE", "~/.cache/lawlib")).expanduser() / "features"


def cached_features(
    extract: Callable[[np.ndarray], np.ndarray], images: np.ndarray, identity: str, folder: Path
) -> np.ndarray:
    """``extract`` of images (N, ...), one row each, chunk by chunk; a chunk that is in the folder is read.

    A file's name is the hash of ``identity``, which must say all that ``extract`` depends on, and of the chunk's own
    images: another network, size or image makes another file. What was computed before an interruption is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        path = folder / f"{hashlib.sha256(identity.encode() + chunk.tobytes()).hexdigest()[:32]}.npy"
        if not path.exists():
            print(f"features: {start} of {len(images)} images", file=sys.stderr, flush=True)
            with replacing(path) as partial, partial.open("wb") as file:
                np.save(file, extract(chunk))
        rows.append(np.load(path))
    return np.concatenate(rows)
