"""Shared data, made once for all variants that agree in the fields from which they are made."""

from collections.abc import Callable
from typing import Any, NoReturn

from ml_collections import ConfigDict

from experiments.runner.fields import leaves
from experiments.runner.hyperparameters import guarded

__all__ = ["Recorded", "once"]

# What is noted of a field that was asked for and is not there.
ABSENT = object()


class Recorded:
    """A config that notes the leaves that are read of it, by dotted path: ``config.net.width``.

    Any other use would not be noted, and is an error: a test of a group's truth, ``==``, ``in`` and iteration.
    """

    def __init__(self, config: ConfigDict, read: dict[str, Any], prefix: str = ""):
        self._config, self._read, self._prefix = config, read, prefix

    def __getitem__(self, name: str) -> Any:
        path = f"{self._prefix}{name}"
        self._read[path] = ABSENT
        value = self._config[name]
        del self._read[path]
        if isinstance(value, ConfigDict):
            return Recorded(value, self._read, f"{path}.")
        self._read[path] = value
        return value

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def _refuse(self, *_: Any) -> NoReturn:
        msg = f"read the fields of the config by name, {self._prefix}FIELD: what else shared data use is not noted"
        raise TypeError(msg)

    __bool__ = __eq__ = __contains__ = __iter__ = _refuse
    __hash__ = None  # type: ignore[assignment]


def once(make: Callable[[Any], Any]) -> Callable[[ConfigDict], Any]:
    """``make(config)``, called again only for a config that differs in a field that it has read.

    A swept field has no value that all members share: any use of it is an error (``guarded``).
    """
    made: list[tuple[dict[str, Any], Any]] = []

    def get(config: ConfigDict) -> Any:
        own = leaves(config)
        for read, value in made:
            if all(own.get(path, ABSENT) == wanted for path, wanted in read.items()):
                return value
        read: dict[str, Any] = {}
        value = make(Recorded(guarded(config), read))
        made.append((read, value))
        return value

    return get
