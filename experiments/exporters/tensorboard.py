"""TensorBoard: a folder of events for each member, written by tensorboardX, which needs no TensorFlow."""

import json
from pathlib import Path

from experiments.exporters.curves import Member, left_out, members
from experiments.runner import settings
from experiments.runner.finished import FinishedRun

__all__ = ["write"]


def write(run: FinishedRun, folder: Path) -> list[str]:
    """Write the curves of each member to VARIANT/PLACE, and claims and config as text; return what is left out."""
    from tensorboardX import SummaryWriter

    for member in members(run):
        with SummaryWriter(str(folder / member.variant / member.place)) as writer:
            _write_member(writer, member)
    with SummaryWriter(str(folder)) as writer:
        if (run.path / "claims.md").exists():
            writer.add_text("claims", (run.path / "claims.md").read_text())
        plain = json.dumps(settings.to_plain(run.config), indent=2)
        # TensorBoard reads text as Markdown, in which an indented block is shown as it is.
        writer.add_text("config", "\n".join(f"    {line}" for line in plain.splitlines()))
    return left_out(run)


def _write_member(writer, member: Member) -> None:
    from tensorboardX.summary import hparams

    # The table of hyperparameters shows the last number of these curves.
    for part in hparams(member.varied, dict.fromkeys([tag for tag in member.curves if "/" not in tag], 0.0)):
        writer.file_writer.add_summary(part)
    for step, numbers in member.points():
        for tag, number in numbers.items():
            writer.add_scalar(tag, number, step)
