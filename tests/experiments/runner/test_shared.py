"""Shared data are made once for all configs that agree in what was read of them."""

import pytest
from ml_collections import ConfigDict

from experiments.runner.shared import once


def config_of(source="digits", width=5, depth=2):
    return ConfigDict({"data": {"source": source}, "net": {"width": width, "depth": depth}})


def test_data_are_made_again_only_where_a_field_that_was_read_differs():
    made = []

    def make(config):
        made.append(config.net["depth"] if config.data.source == "drawn" else config.net.width)
        return object()

    get = once(make)
    first = get(config_of())
    assert get(config_of(depth=3)) is first
    assert get(config_of(width=6)) is not first
    assert get(config_of(source="drawn")) is get(config_of(source="drawn", width=6))
    assert get(config_of()) is first
    assert made == [5, 6, 2]


def test_a_field_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="heigth"):
        once(lambda config: config.net.heigth)(config_of())


def test_data_are_made_again_where_a_field_that_was_missed_is_there():
    def make(config):
        try:
            return [config.data.pool]
        except KeyError:
            return [0]

    get, pooled = once(make), config_of()
    pooled.data.pool = 2
    assert get(config_of()) == [0]
    assert get(pooled) == [2]
    assert get(config_of(depth=3)) is get(config_of())


USES = {
    "truth": lambda config: bool(config.net),
    "equality": lambda config: config.net == config.data,
    "membership": lambda config: "depth" in config.net,
    "iteration": lambda config: list(config.net),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_would_not_be_noted_is_refused(use):
    with pytest.raises(TypeError, match=r"by name, (net\.)?FIELD"):
        once(use)(config_of())


def test_a_swept_field_has_no_value_that_members_share():
    config = config_of()
    config.sweep = ConfigDict({"net": {"width": (5, 6)}})
    with pytest.raises(TypeError, match=r"net\.width is swept"):
        once(lambda config: 2 * config.net.width)(config)
