"""The pictures of a run for a page: PNG in base64, their sizes, and a text for those who do not see them."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from experiments.reporting.subject import Subject
from experiments.runner.captions import Caption, caption_of
from experiments.runner.finished import FinishedRun
from experiments.runner.store import InputError

__all__ = ["Picture", "chosen", "read"]


class Picture(NamedTuple):
    """A picture: ``data`` is the PNG in base64, ``caption`` what it shows, ``alt`` what kind of plot it is."""

    name: str
    data: str
    width: int
    height: int
    caption: str
    alt: str


def read(run: FinishedRun, subject: Subject) -> list[Picture]:
    """The pictures of a run folder, or of a published one, by name.

    Raises:
        InputError: A picture cannot be read, or is damaged; one line for each.
    """
    folder = run.path / "figures" if run.has_results else run.path
    pictures, problems = [], []
    for file in sorted(folder.glob("*.png")):
        caption = caption_of(run.config.experiment, file.stem) or _unknown(run, subject, file)
        try:
            pictures.append(_picture(file, caption))
        except Exception as error:  # whatever Pillow and zlib raise of damaged bytes
            remedy = "--replot draws it again" if run.has_results else "restore it"
            problems.append(f"{file}: is not a whole PNG ({' '.join(str(error).split())}); {remedy}")
    if problems:
        raise InputError(problems)
    return pictures


def _unknown(run: FinishedRun, subject: Subject, file: Path) -> Caption:
    """The name of a picture in words, where the experiment says nothing of it."""
    name = file.stem.replace("_", " ")
    return Caption(name, f"Plot of {run.name}: {name}. {subject.sentence}".strip())


def _picture(file: Path, caption: Caption) -> Picture:
    content = file.read_bytes()
    with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
        width, height = opened.size
        opened.load()
    return Picture(file.stem, base64.b64encode(content).decode(), width, height, *caption)


def chosen(pictures: Sequence[Sequence[Picture]], room: int) -> list[list[Picture]]:
    """The pictures of each run that so many bytes have room for: the first of every run before the second of any."""
    places = [(place, run) for run, own in enumerate(pictures) for place in range(len(own))]
    kept: list[list[Picture]] = [[] for _ in pictures]
    for place, run in sorted(places):
        size = len(pictures[run][place].data)
        if size <= room:
            room -= size
            kept[run].append(pictures[run][place])
    return kept
