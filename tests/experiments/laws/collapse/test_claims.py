"""Rates are compared where the network differs in the field that the law names alone."""

import pytest
from synthetic import cases_of, config_of, verdict


@pytest.mark.parametrize(
    ("name", "word", "id"),
    [
        ("depth", "sweep.net.scale=0.1,0.3", "F2.depth"),
        ("init", "sweep.net.scale=0.1,0.3", "F12.rate"),
        ("scale", "sweep.opt.step_size=0.002,0.004", "F11.linear"),
    ],
)
def test_rates_under_another_swept_field_are_not_compared(name, word, id):
    lawful = cases_of("collapse").lawful
    (before, after) = (verdict(lawful, config_of(f"collapse_{name}", "num_seeds=2", *words)) for words in ((), (word,)))
    assert before[id].status in ("holds", "refuted")
    assert (after[id].status, before.keys()) == ("not_run", after.keys())
    assert "alone" in after[id].reason
