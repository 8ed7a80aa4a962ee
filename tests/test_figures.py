"""The published pictures stay small: their history is most of what a clone downloads."""

import re

import pytest
from PIL import Image
from source_tree import ROOT

from experiments import published
from experiments.runner.captions import caption_of, matching
from experiments.runner.experiment import load
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


def drawn():
    """For each experiment, the pictures that are published of it."""
    found = {}
    for place in published.folders():
        found.setdefault(published.experiment_of(place), set()).update(published.pictures(place.name))
    return found


DRAWN = drawn()
# Of sentences; a stop within one would cut the alternative text short.
ENDS = re.compile(r"[.!?](?= |$)")


@pytest.mark.parametrize("experiment", sorted(DRAWN))
def test_every_published_picture_has_exactly_one_caption_and_no_caption_is_left(experiment):
    captions = load(experiment).captions
    found = {picture: matching(captions, picture) for picture in DRAWN[experiment]}
    assert {picture: own for picture, own in found.items() if len(own) != 1} == {}
    assert set(captions) == {own[0] for own in found.values()}


@pytest.mark.parametrize("experiment", sorted(DRAWN))
def test_a_caption_has_a_few_sentences_and_begins_with_the_kind_of_plot(experiment):
    for picture in DRAWN[experiment]:
        caption = caption_of(experiment, picture)
        assert 2 <= len(ENDS.findall(caption.text)) <= 4
        assert caption.text.startswith(f"{caption.alt} ")
        assert ENDS.findall(caption.alt) == ["."]
        assert len(caption.alt) <= 320
        assert not re.search(r"[*|`]|\d[.]\d", caption.text)
