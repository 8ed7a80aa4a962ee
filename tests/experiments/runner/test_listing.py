"""Which configs have the words that are asked for, and how they are printed."""

import pytest

from experiments.runner.catalog import Entry
from experiments.runner.listing import listing, matching, unmatched

KNOWN = [
    Entry("collapse_depth", "Collapse at depths", "Yaras et al. 2023", "Figures 2 and 7", {"cpu": "32 min"}),
    Entry("collapse_init", "Other weights", "Yaras et al. 2023", "Figure 12", {"cpu": "about 35 s", "once": "2 h"}),
    Entry("jumps", "SGD jumps", "Wang and Jacot 2024", "Theorems 3.1, B.1"),
    Entry("broken", "(cannot be read: SyntaxError line 1: invalid syntax)"),
]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["collapse_depth", "collapse_init", "jumps", "broken"]),
        ([""], ["collapse_depth", "collapse_init", "jumps", "broken"]),
        (["YARAS"], ["collapse_depth", "collapse_init"]),
        (["collapse", "depth"], ["collapse_depth"]),
        (["figure 7"], ["collapse_depth"]),
        (["figure", "2"], ["collapse_depth"]),
        (["12"], ["collapse_init"]),
        (["3.1"], ["jumps"]),
        (["1"], ["jumps", "broken"]),  # in B.1 and in line 1, but neither in 12 nor in 3.1
        (["once"], ["collapse_init"]),
        (["weights"], ["collapse_init"]),
        (["jaco"], ["jumps"]),
        (["(cannot"], ["broken"]),
        (["35"], []),  # a time
        (["yaras", "jumps"], []),
    ],
)
def test_every_word_occurs_in_some_column(words, names):
    assert [entry.name for entry in matching(KNOWN, words)] == names


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["colapse"], "no config has colapse; did you mean collapse?"),
        (["colapse-depth"], "no config has colapse-depth; did you mean collapse_depth?"),
        (["jcot", "yaras"], "no config has jcot; did you mean jacot?"),
        (["@@", "%%"], "no config has @@ or %%; --list alone shows all 4"),
        (["Yaras", "jumps"], "no config has all of these words (yaras is in 2, jumps is in 1); leave one out"),
    ],
)
def test_words_that_nothing_has(words, line):
    assert unmatched(KNOWN, words) == f"--list {' '.join(words)}: {line}"


def test_a_pipe_has_a_line_for_each_config_with_columns_of_one_place():
    header, *lines = listing(KNOWN, None).splitlines()
    assert len(lines) == len(KNOWN)
    assert [line.split("  ")[0] for line in lines] == [entry.name for entry in KNOWN]
    assert lines[1][header.index("time") :].startswith("cpu about 35 s, once 2 h  ")
    assert {line.index(entry.title) for line, entry in zip(lines, KNOWN, strict=True)} == {header.index("what")}


def test_a_narrow_terminal_has_whole_words_and_says_what_about_means():
    shown = listing(KNOWN, 80)
    assert max(map(len, shown.splitlines())) <= 80
    for entry in KNOWN:
        assert entry.title in shown
    assert "collapse_init  Figure 12 of Yaras et al. 2023\n    Other weights\n    cpu about 35 s, once 2 h\n" in shown
    assert '"about": estimated' in shown
    assert '"about": estimated' not in listing(KNOWN, None)
