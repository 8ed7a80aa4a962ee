"""A process of a distributed run that is not the first: it computes its share of every segment, and writes nothing."""

from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.checkpoints import Restored
from experiments.runner.experiment import load
from experiments.runner.memory import room
from experiments.runner.progress import Reporter
from experiments.runner.provenance import conditions
from experiments.runner.run import (
    DONE,
    Work,
    divided_by,
    environment_of,
    outline_of,
    prepare,
    segments,
    sources_of,
    work_of,
)
from experiments.runner.setbacks import STOPPED
from experiments.runner.stopping import Stop
from experiments.runner.team.meshes import connect
from experiments.runner.team.team import Team
from lawlib.dynamics.placement import gathered
from lawlib.dynamics.sweep import Plan

__all__ = ["follow"]


def follow(config: ConfigDict, team: Team, stop: Stop) -> int:
    """Compute with process 0 what it finds missing in the run folder; return the exit code.

    Raises:
        InputError: A process cannot take part, or process 0 is refused; the latter says why.
    """
    prepare()
    order = team.begin()
    if order.conditions is None:
        return order.code

    def prepared() -> list[Work]:
        experiment = load(config.experiment)
        own = conditions(environment_of(config, experiment), sources_of(config, experiment))
        team.check_same(order.conditions or {}, {"config": settings.to_plain(config), **own})
        return work_of(config, experiment, room(None))

    work = team.agreed(prepared)
    stop.check()
    with stop.in_steps():
        finished = _compute(work, team, stop)
    return DONE if finished else STOPPED


def _compute(work: list[Work], team: Team, stop: Stop) -> bool:
    """The loop of process 0, without what it writes; False when stopped by a signal after a checkpoint."""
    plans = [Plan(*each) for each in team.told()]
    work = team.agreed(lambda: divided_by(work, plans, team))
    connect(each.mesh for each in work)
    restored = None
    if at := team.told():
        carry = None if at["last"] else team.arrays(outline_of(work, plans, at["variant"]))
        restored = Restored(at, carry, ())
    silent = Reporter(lambda *_: None, lambda _: None, sum(len(each.members.seeds) for each in work))
    for _, segment in segments(work, plans, restored, silent, team):
        asked, due = team.noted(asked=stop.asked, due=False)
        if (asked or due) and not segment.last:
            gathered(segment.trajectory._replace(observations={}))
        if asked:
            team.part()
            return False
    team.part()
    return True
