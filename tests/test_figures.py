"""The published pictures stay small: their history is most of what a clone downloads."""

import pytest
from PIL import Image
from source_tree import ROOT

from experiments.runner.publish import LARGEST_PICTURE

FIGURES = ROOT / "figures"
PICTURES = sorted(FIGURES.rglob("*.png"))
MOST_BYTES = 6_000_000


def test_there_are_pictures():
    assert len(PICTURES) >= 80


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_picture_has_a_palette_and_at_most_200_kilobytes(picture):
    with Image.open(picture) as opened:
        opened.load()
        assert opened.mode == "P"
    assert picture.stat().st_size <= LARGEST_PICTURE == 200_000


def test_all_that_is_published_has_at_most_6_megabytes():
    assert sum(file.stat().st_size for file in FIGURES.rglob("*") if file.is_file()) <= MOST_BYTES


def test_only_pictures_and_text_are_published():
    kinds = {file.suffix for file in FIGURES.rglob("*") if file.is_file()}
    assert kinds == {".png", ".md", ".json"}
