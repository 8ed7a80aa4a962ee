"""What ``--show`` prints: every field of a config with its value, what it may be, its unit and its meaning."""

from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.runner import schema, settings
from experiments.runner.experiment import load

__all__ = ["show"]


def show(config: ConfigDict, console: Console) -> None:
    """Print the fields and the variants of a config."""
    table = Table("field", "value", "allowed", "unit", "meaning", expand=True)
    table.columns[4].ratio = 1
    for row in schema.rows(config, load(config.experiment).fields):
        table.add_row(*map(Text, row))
    console.print(table)
    for name, own in settings.expand(config):
        fields = ", ".join(f"{path}={value!r}" for path, value in own.variants[0].items() if path != "name")
        console.print(Text(f"variant {name}: {fields or 'the config as it is'}"))
