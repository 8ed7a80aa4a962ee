"""Captions are found by patterns of names, and their first sentence is the text for those who do not see."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from experiments.runner.captions import caption_of, matching

CAPTIONS = {
    "layers_*": "Curves of sigma_2(W) (top), e.g.of layers, over t. More is said here. And here.",
    "ends": "One sentence",
}


@pytest.fixture
def made_up(monkeypatch):
    module = ModuleType("experiments.laws.made_up")
    module.EXPERIMENT = SimpleNamespace(captions=CAPTIONS)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return "made_up"


def test_the_first_sentence_is_the_text(made_up):
    caption = caption_of(made_up, "layers_L3")
    assert caption.text == CAPTIONS["layers_*"]
    assert caption.alt == "Curves of sigma_2(W) (top), e.g.of layers, over t."
    assert caption_of(made_up, "ends").alt == "One sentence"


def test_what_has_no_caption_has_none(made_up):
    assert caption_of(made_up, "Layers_L3") is None
    assert caption_of("no_such_law", "layers_L3") is None
    assert matching(CAPTIONS, "ends_of") == []
