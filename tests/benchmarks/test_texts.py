"""Texts of packages: their parts do not overlap, and one that is not installed is named."""

import shutil

import numpy as np
import pytest

from benchmarks import main, text_adaptation, texts


def test_rows_are_those_of_the_text_and_parts_do_not_overlap():
    text = "".join(chr(32 + i % 90) for i in range(10 * texts.BLOCK * 4 + 3))
    cut = texts.parts(text, 4)
    counts = [len(part) for part in cut]
    assert counts == [8 * texts.BLOCK, texts.BLOCK, texts.BLOCK]
    back = "".join(chr(code) for code in np.concatenate(cut).ravel())
    assert back == text[: 10 * texts.BLOCK * 4]


def test_other_characters_become_question_marks():
    assert texts.parts("aä…b", 4).training.tolist() == [[97, 63, 63, 98]]


def test_a_bible_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(texts.MissingTextError, match="apt-get install bible-kjv-text"):
        texts.bible("Old Testament")


def test_a_benchmark_without_its_text_is_left_out_with_the_reason(monkeypatch, capsys, tmp_path):
    def measure():
        msg = "no text"
        raise texts.MissingTextError(msg)

    monkeypatch.setattr(main, "RESULTS", tmp_path)
    monkeypatch.setattr(text_adaptation, "measure", measure)
    main.main(["text_adaptation"])
    assert capsys.readouterr().out == "text_adaptation was not measured: no text\n"
    assert not list(tmp_path.iterdir())


def test_the_help_of_python_is_long_enough_for_its_parts():
    cut = texts.parts(texts.python_documentation(), text_adaptation.SIZES.length + 1)
    assert len(cut.validation) >= text_adaptation.VALIDATION
    assert len(cut.test) >= text_adaptation.TEST


@pytest.mark.skipif(shutil.which("bible") is None, reason="Debian's bible-kjv is not installed")
def test_verses_have_no_numbers():
    assert texts.bible("New Testament").startswith("The book of the generation of Jesus Christ")
