"""What ``--show`` prints: every field of a config with its value, what it may be, its unit and its meaning."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from experiments.runner import columns, schema, settings, streams
from experiments.runner.experiment import load

__all__ = ["show"]

HEADER = ("field", "value", "allowed", "unit", "meaning")


def show(config: ConfigDict) -> None:
    """Print the fields and the variants of a config."""
    rows = list(schema.rows(config, load(config.experiment).fields))
    streams.write(columns.table(HEADER, rows, _block, columns.terminal_width()) + "\n")
    for name, own in settings.expand(config):
        fields = ", ".join(f"{path}={value!r}" for path, value in own.variants[0].items() if path != "name")
        streams.write(f"variant {name}: {fields or 'the config as it is'}\n")


def _block(row: Sequence[str]) -> Sequence[str]:
    path, value, allowed, unit, meaning = row
    return f"{path} = {value}", meaning, allowed if unit in ("-", "1") else f"{allowed}, in units of {unit}"
