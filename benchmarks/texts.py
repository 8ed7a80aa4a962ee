"""Texts that packages ship, as rows of characters: never copied into the repository, read where they are installed."""

import re
import shutil
import subprocess
from typing import NamedTuple

import numpy as np

__all__ = ["CHARACTERS", "MissingTextError", "Text", "bible", "parts", "python_documentation"]

CHARACTERS = 128
# Of every ten blocks of this many rows the ninth is for validation and the tenth for the test.
BLOCK = 32
PARTS = {"Old Testament": "gen1:1-mal4:6", "New Testament": "mat1:1-rev22:21"}


class MissingTextError(Exception):
    """A text is not on this machine; with what to install."""


class Text(NamedTuple):
    """Rows of character codes (N, length), in three parts."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def bible(part: str) -> str:
    """The King James Version of 1611 without its numbers, a verse in a line: a part of ``PARTS``.

    Raises:
        MissingTextError: Debian's package bible-kjv is not installed.
    """
    program = shutil.which("bible")
    if program is None:
        msg = "the text is that of Debian's packages bible-kjv and bible-kjv-text: apt-get install bible-kjv-text"
        raise MissingTextError(msg)
    # Formatted, so that a verse is a line: "Ge1:1 In the beginning ..."
    printed = subprocess.run([program, "-f", PARTS[part]], capture_output=True, text=True, check=True).stdout
    return re.sub(r"^\S+ ", "", printed, flags=re.MULTILINE)


def python_documentation() -> str:
    """The topics of Python's own help, which differ a little between its versions.

    Raises:
        MissingTextError: this Python comes without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        msg = "the text is that of Python's pydoc_data.topics, which this Python comes without"
        raise MissingTextError(msg) from error
    return "\n".join(topics[name] for name in sorted(topics))


def parts(text: str, length: int) -> Text:
    """The text cut into rows of ``length`` characters; those outside ASCII become question marks."""
    codes = np.frombuffer(text.encode("ascii", errors="replace"), np.uint8).astype(np.int32)
    rows = codes[: len(codes) // length * length].reshape(-1, length)
    place = np.arange(len(rows)) // BLOCK % 10
    return Text(rows[place < 8], rows[place == 8], rows[place == 9])
