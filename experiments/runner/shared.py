"""Shared data, made once for all variants that agree in the fields from which they are made."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from experiments.runner.fields import leaves

__all__ = ["Recorded", "once"]


class Recorded:
    """A config that notes the leaves that are read of it, by dotted path; it is read as a ConfigDict is."""

    def __init__(self, config: ConfigDict, read: dict[str, Any], prefix: str = ""):
        self._config, self._read, self._prefix = config, read, prefix

    def __getitem__(self, name: str) -> Any:
        value, path = self._config[name], f"{self._prefix}{name}"
        if isinstance(value, ConfigDict):
            return Recorded(value, self._read, f"{path}.")
        self._read[path] = value
        return value

    def __getattr__(self, name: str) -> Any:
        return self[name]


def once(make: Callable[[Any], Any]) -> Callable[[ConfigDict], Any]:
    """``make(config)``, called again only for a config that differs in a field that it has read."""
    made: list[tuple[dict[str, Any], Any]] = []

    def get(config: ConfigDict) -> Any:
        own = leaves(config)
        for read, value in made:
            if all(path in own and own[path] == wanted for path, wanted in read.items()):
                return value
        read: dict[str, Any] = {}
        value = make(Recorded(config, read))
        made.append((read, value))
        return value

    return get
