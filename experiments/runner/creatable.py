"""Whether a folder can be created, found out before work is begun whose results belong into it."""

import os
from contextlib import suppress
from pathlib import Path

from experiments.runner.store import make_folder

__all__ = ["check_creatable"]


def check_creatable(folder: Path) -> None:
    """Check that a folder exists or can be created; one that is created for this is removed again.

    Raises:
        InputError: It cannot be created.
        Setback: There is no room.
    """
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        make_folder(folder)
    finally:
        for place in missing:
            with suppress(OSError):  # it was not created, or another process uses it
                place.rmdir()
