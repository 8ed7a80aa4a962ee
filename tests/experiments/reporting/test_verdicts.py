"""The verdict in words: what fails comes first, and every status is counted."""

import pytest
from claim_rows import row

from experiments.reporting.verdicts import MARKS, tone, verdict, words
from experiments.runner.claims import STATUSES


@pytest.mark.parametrize(
    ("statuses", "headline", "tone"),
    [
        ([("law", "holds")], "The one law holds.", "good"),
        ([("law", "holds")] * 3, "All 3 laws hold.", "good"),
        ([("law", "holds"), ("law", "fails")], "1 of 2 laws fails.", "bad"),
        ([("law", "fails")] * 2, "2 of 2 laws fail.", "bad"),
        ([("law", "fails")], "1 of 1 law fails.", "bad"),
        ([("law", "holds"), ("printed", "stands")], "1 of 1 printed sentence stands; the one law holds.", "bad"),
        ([("printed", "refuted")] * 2, "Both printed sentences are refuted.", "good"),
        ([("check", "fails"), ("law", "holds"), ("printed", "refuted")], None, "bad"),
        ([("law", "not_run"), ("law", "not_reached")], "No claim has a verdict.", "open"),
        ([], "No claim has a verdict.", "open"),
    ],
)
def test_the_headline_says_what_a_reader_asks_first(statuses, headline, tone):
    found = verdict([row(kind, status) for kind, status in statuses])
    assert found.headline == (headline or "1 of 1 check fails; the one law holds; the one printed sentence is refuted.")
    assert found.tone == tone


def test_what_is_refuted_is_good_and_what_stands_is_not():
    expected = {
        "good": {"holds", "refuted"},
        "bad": {"fails", "stands"},
        "open": {"not_judged", "not_reached", "not_run"},
    }
    assert {name: {status for status in STATUSES if tone(status) == name} for name in MARKS} == expected


def test_every_status_is_counted_once():
    found = verdict([row("printed" if status in ("refuted", "stands") else "law", status) for status in STATUSES] * 2)
    assert found.numbers == dict.fromkeys(STATUSES, 2)
    assert sum(count.number for count in found.counts) == 2 * len(STATUSES)
    assert len({words(status, 2) for status in STATUSES}) == len(STATUSES)
    assert found.in_words.startswith("2 hold, 2 refuted, 2 fail, 2 stand, 2 not judged")
    assert {tone(status) for status in STATUSES} == MARKS.keys()
    assert [claim.status for claim in found.failing] == ["fails", "stands"] * 2
