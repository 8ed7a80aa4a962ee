"""What the pictures of an experiment show, in words: a caption, and a text for those who do not see the picture."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from experiments.runner.experiment import load

__all__ = ["Caption", "caption_of", "matching"]

SENTENCE = re.compile(r".*?[.!?](?= [A-Z(]|$)", re.DOTALL)


class Caption(NamedTuple):
    """A caption, and its first sentence, which says what kind of plot the picture is."""

    text: str
    alt: str


def caption_of(experiment: str, picture: str) -> Caption | None:
    """The caption of a picture by its name; None where the experiment has none, or is not of this checkout."""
    try:
        captions = load(experiment).captions
    except (ImportError, AttributeError):
        return None
    found = matching(captions, picture)
    return _of(captions[found[0]]) if found else None


def matching(captions: Mapping[str, str], picture: str) -> list[str]:
    """The patterns that a picture's name matches."""
    return [pattern for pattern in captions if fnmatchcase(picture, pattern)]


def _of(text: str) -> Caption:
    first = SENTENCE.match(text)
    return Caption(text, first[0] if first else text)
