"""Whether the results of a run are what was written, and what to do where they are not.

Checksums inside a netCDF file cover its data, and not the index by which they are found: 15 bits that were flipped
there went unnoticed. So a SHA-256 of the whole file lies beside it.
"""

import hashlib
import re
from pathlib import Path

__all__ = ["DAMAGE", "MALFORMED", "damage_of", "digest_file", "seal_of"]

# How a JSON file shows that it is torn, or holds something else.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
# How the libraries below xarray report that a file is cut short or damaged.
DAMAGE = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)


def digest_file(file: Path) -> Path:
    """Where the SHA-256 of a file is kept."""
    return file.with_name(f"{file.name}.sha256")


def seal_of(content: Path, name: str) -> str:
    """The text of the digest file of ``content``, which will be called ``name``; ``sha256sum --check`` reads it."""
    return f"{_sha256(content)}  {name}\n"


def damage_of(file: Path) -> str:
    """How a file differs from what was written; empty if it does not, or if an older version kept no digest."""
    beside = digest_file(file)
    try:
        if file.stat().st_size == 0:
            return "it is empty"
        if not beside.exists():
            return ""
        kept = re.match(r"([0-9a-f]{64})  ", beside.read_text())
        if not kept:
            return f"{beside.name} beside it holds no SHA-256"
        return "" if kept[1] == _sha256(file) else f"its SHA-256 is not the one in {beside.name}"
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
