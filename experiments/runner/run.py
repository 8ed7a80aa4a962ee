"""The one runner: a config in, a run folder out. Every experiment of every paper goes through here."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from experiments.runner import claims as claims_table
from experiments.runner import resuming, settings
from experiments.runner.checkpoints import Checkpoints, Restored
from experiments.runner.conclude import conclude
from experiments.runner.experiment import Experiment, load
from experiments.runner.forecast import Need, need_of, refusals, told
from experiments.runner.hyperparameters import guarded
from experiments.runner.integrity import MALFORMED
from experiments.runner.memory import Room, room
from experiments.runner.pace import NOWHERE, Pace
from experiments.runner.progress import Reporter, reporting, rounded
from experiments.runner.provenance import conditions, environment
from experiments.runner.results import check_declared, streamed
from experiments.runner.saving import Saver, chunks_of
from experiments.runner.setbacks import STOPPED, Setback
from experiments.runner.shards.cut import Shard
from experiments.runner.shared import once
from experiments.runner.stopping import Stop
from experiments.runner.store import InputError, RunFolder, open_run
from experiments.runner.streams import Output
from experiments.runner.team.meshes import connect, dividing, mesh_of
from experiments.runner.team.team import Order, Team
from experiments.runner.watchdog import monitored
from lawlib.dynamics.sweep import MEMBERS, Members, Plan, Position, Segment, grid, observed, outline, plan, sweep
from lawlib.dynamics.system import Dynamics

DONE, CLAIM_FAILED = 0, 1
# Where there is no terminal to ask, tables and progress are printed this wide.
LINE_WIDTH = 120


class Start(NamedTuple):
    """A start of a run: its environment, and where its data are from."""

    environment: dict[str, Any]
    sources: dict[str, str]


class Work(NamedTuple):
    """One compiled program of a run: a variant, and what ``plan``, ``outline`` and ``sweep`` take first."""

    name: str
    config: ConfigDict
    times: np.ndarray
    seeds: range
    members: Members
    system: tuple[Dynamics, jax.Array, Members, Any]
    mesh: jax.sharding.Mesh
    need: Need


def run(
    config: ConfigDict,
    workdir: Path,
    *,
    strict: bool = False,
    replot: bool = False,
    redo: bool = False,
    stop: Stop | None = None,
    team: Team | None = None,
) -> int:
    """Run a config into its folder, or resume it where it stopped; return the exit code.

    A complete folder is judged and printed again without a run; ``replot`` redoes claims and figures from results.nc.
    ``redo`` resumes under other conditions too: finished chunks of members are kept, the others are computed anew.
    ``stop`` tells of signals; without it the run is interrupted as any Python program is. Of a ``team`` of processes
    this is the first one, which alone has the folder.

    Raises:
        InputError: The folder is another's, locked or cannot be written; nothing was made.
        KeyboardInterrupt: A signal came while nothing was being computed; finished work is kept.
    """
    if replot and not os.path.exists(workdir / "results.nc"):  # also of a name too long for a file
        raise InputError([f"{workdir}: has no results.nc to draw again; run it first, without --replot"])
    prepare()
    stop, team = stop or Stop(), team or Team()
    out = console()
    experiment = load(config.experiment)
    with open_run(workdir, settings.to_plain(config)) as folder:
        if not _computed(config, experiment, folder, out, stop, team, redo=redo):
            out.print(f"stopped after a checkpoint; the same command resumes the run ({workdir})", markup=False)
            return STOPPED
        team.dismiss(DONE)
        Checkpoints(folder.path).clear()
        if replot or not folder.is_complete:
            conclude(experiment, folder, stop)
        verdict = _verdict(folder.path / "claims.json")
        claims_table.table(verdict, out)
        if not verdict:
            out.print("no law of this experiment speaks of these runs; their numbers are in summary.md")
        out.print(f"run folder: {workdir}", highlight=False, markup=False)
        return CLAIM_FAILED if strict and claims_table.failing(verdict) else DONE


def run_shard(config: ConfigDict, workdir: Path, shard: Shard, *, redo: bool = False) -> None:
    """Compute a part of a config into a folder of its own, or resume it; its claims are judged once it is merged.

    Raises:
        InputError: As ``run``.
        Setback: There is no room, or the folder was moved away.
    """
    prepare()
    experiment = load(config.experiment)
    with open_run(workdir, {**settings.to_plain(config), "shard": shard.record()}) as folder:
        _computed(config, experiment, folder, Console(quiet=True), Stop(), Team(), redo=redo, shard=shard)
        Checkpoints(folder.path).clear()


def _computed(
    config: ConfigDict,
    experiment: Experiment,
    folder: RunFolder,
    out: Console,
    stop: Stop,
    team: Team,
    *,
    redo: bool,
    shard: Shard | None = None,
) -> bool:
    """Compute results.nc if it is missing; False when stopped by a signal after a checkpoint."""
    if (folder.path / "results.nc").exists():
        return True
    here = Start(environment_of(config, experiment), sources_of(config, experiment))
    found = resuming.found(folder.path, Checkpoints(folder.path), conditions(*here), redo=redo)
    team.begin(Order({"config": settings.to_plain(config), **found.conditions}))
    with _stopwatch(folder, here, found.changed):
        # Before signals wait for a checkpoint: data may take minutes to prepare, and are kept by themselves.
        work = team.agreed(lambda: work_of(config, experiment, room(folder.path), shard))
        stop.check()
        with stop.in_steps():
            return _simulate(work, config, experiment, folder, out, stop, found, team, shard)


def _verdict(file: Path) -> tuple[claims_table.Claim, ...]:
    """The claims of a complete folder."""
    try:
        return claims_table.from_json(file.read_text())
    except (OSError, *MALFORMED) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError([f"{file}: is damaged ({said}); --replot writes it anew"]) from error


def console() -> Console:
    """The console that tables and progress are printed on."""
    output = Output()
    return Console(file=cast(IO[str], output), width=None if output.isatty() else LINE_WIDTH)


def prepare() -> None:
    """Configure JAX for theory: float64 enabled, matrix products at the highest precision on accelerators too."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")


def observation_times(config: ConfigDict) -> np.ndarray:
    """At most ``observe.num_times`` + 1 step numbers from 0 to ``opt.num_steps``, evenly or logarithmically spaced."""
    last, count = config.opt.num_steps, config.observe.num_times
    spaced = np.linspace(0, last, count) if config.observe.spacing == "even" else np.geomspace(1, last, count - 1)
    return np.unique(np.concatenate([[0], np.round(spaced), [last]]).astype(int))


def work_of(
    config: ConfigDict, experiment: Experiment, room: Room | None = None, shard: Shard | None = None
) -> list[Work]:
    """Everything that a run, or a shard of it, computes, in order.

    The root keys of all draws are made here, and nowhere else.

    Raises:
        InputError: The run needs more than there is ``room`` for.
    """
    shared = once(experiment.shared)
    parts = [
        (name, own, experiment.dynamics(guarded(own)), jax.random.key(own.seed), shared(own))
        for name, own in settings.expand(config)
        if shard is None or name == shard.variant
    ]
    seeds = [shard.seeds if shard else range(own.num_seeds) for _, own, *_ in parts]
    # Before any array is as long as the members or the times.
    needs = [need_of(*part)._replace(num_seeds=len(own)) for part, own in zip(parts, seeds, strict=True)]
    if room and (problems := refusals(needs, room)):
        raise InputError(problems)
    each = zip(needs, seeds, parts, strict=True)
    return [_work(shard.plan.chunk if shard else 0, need, own, *part, experiment) for need, own, part in each]


def _work(
    at_once: int,
    need: Need,
    seeds: range,
    name: str,
    config: ConfigDict,
    dynamics: Dynamics,
    key: jax.Array,
    shared: Any,
    experiment: Experiment,
) -> Work:
    members = grid(len(seeds), settings.hyperparameters(config), config.precision, first_seed=seeds.start)
    system = dynamics, key, members, shared
    check_declared(name, observed(*system), experiment.variables)
    mesh = mesh_of(system, at_once or len(members.seeds), experiment.sample_devices(config))
    return Work(name, config, observation_times(config), seeds, members, system, mesh, need)


def environment_of(config: ConfigDict, experiment: Experiment) -> dict[str, Any]:
    """The environment, and the devices that share a member's samples, of the variants where they are several."""
    counts = {name: experiment.sample_devices(own) for name, own in settings.expand(config)}
    several = {name: count for name, count in counts.items() if count > 1}
    return {**environment(), **({"sample_devices": several} if several else {})}


def sources_of(config: ConfigDict, experiment: Experiment) -> dict[str, str]:
    """Where the data of all variants are from, by name."""
    found: dict[str, dict[str, None]] = {}
    for _, own in settings.expand(config):
        for name, origin in experiment.sources(own).items():
            found.setdefault(name, {})[origin] = None
    return {name: "; ".join(origins) for name, origins in found.items()}


def _simulate(
    work: list[Work],
    config: ConfigDict,
    experiment: Experiment,
    folder: RunFolder,
    console: Console,
    stop: Stop,
    found: resuming.Found,
    team: Team,
    shard: Shard | None,
) -> bool:
    """Compute what is missing and write results.nc; False when stopped by a signal after a checkpoint."""
    checkpoints = found.checkpoints
    plans, mixed = resuming.divided(found, lambda: [shard.plan] if shard else plans_of(work))
    team.told(plans)
    work = team.agreed(lambda: divided_by(work, plans, team))
    if not team.alone:
        connect(each.mesh for each in work)
    chunks = [math.ceil(len(v.members.seeds) / cut.chunk) for v, cut in zip(work, plans, strict=True)]
    console.print(told([v.need for v in work], chunks), markup=False, highlight=False)
    restored = checkpoints.restore(lambda at: None if at["last"] else outline_of(work, plans, at["variant"]))
    team.told(restored and restored.position)
    if restored and restored.carry is not None:
        team.arrays(restored.carry)
    folder.rewind_log(rounded(_reached(work, plans, restored.position).share) if restored else -1.0)
    total = sum(len(variant.members.seeds) for variant in work)
    saver = Saver(checkpoints, config.run.checkpoint_seconds)
    if team.alone:  # what others have a part of, no thread can save alone
        stop.rescue = saver.save
    with reporting(console, folder.log, total) as reporter, monitored(reporter.warn) as monitor:
        for at, segment in monitor(segments(work, plans, restored, reporter, team)):
            folder.check_place()  # a checkpoint makes folders
            saver.add(at, segment)
            asked, due = team.noted(asked=stop.asked, due=saver.is_due)
            if asked or due:
                saver.save()
            if asked:
                team.part()
                return False
    saver.save()
    team.part()
    groups = (
        (v.name, streamed(v.name, v.config, v.times, chunks_of(checkpoints, index), experiment.variables, v.seeds))
        for index, v in enumerate(work)
    )
    # What some members were computed under and others were not; nothing, unless somebody asked for that.
    differing = {"mixed": json.dumps(mixed)} if mixed else {}
    folder.write_results(
        groups, {"config": json.dumps(settings.to_plain(config)), **differing}, num_bytes=checkpoints.num_bytes
    )
    return True


def plans_of(work: list[Work]) -> list[Plan]:
    """How each variant is cut, chosen now."""
    on_cpu = jax.default_backend() == "cpu"
    return [
        plan(*v.system, len(v.times), on_cpu=on_cpu, num_devices=v.mesh.shape[MEMBERS], **_cut(v.config)) for v in work
    ]


def divided_by(work: list[Work], plans: list[Plan], team: Team) -> list[Work]:
    """The same work on devices that divide the batches of its chunks."""
    parts = zip(work, plans, strict=True)
    return [each._replace(mesh=dividing(each.mesh, cut.chunk // cut.batch, team)) for each, cut in parts]


def _cut(config: ConfigDict) -> dict[str, int]:
    return {name: config.run[name] for name in ("chunk", "batch", "segment")}


def outline_of(work: list[Work], plans: list[Plan], index: int) -> Any:
    """The shapes of what a checkpoint inside a variant carries."""
    return outline(*work[index].system, plans[index])


class Reached(NamedTuple):
    """How far a run is: members finished, the share of all the work, and the share at which this variant ends."""

    members: int
    share: float
    ends: float


def _reached(work: list[Work], plans: list[Plan], at: Mapping[str, Any]) -> Reached:
    """How far a run is after the segment at a position, or before the first of a variant (chunk -1)."""
    sizes, times = [len(variant.members.seeds) for variant in work], [len(variant.times) for variant in work]
    works, index = [size * count for size, count in zip(sizes, times, strict=True)], at["variant"]
    start, stop = (min((at["chunk"] + i) * plans[index].chunk, sizes[index]) for i in (0, 1))
    seen = times[index] if at["last"] else _seen(work[index].times, at["seen"], at["now"])
    done = sum(works[:index]) + max(start, 0) * times[index] + (stop - max(start, 0)) * seen
    members = sum(sizes[:index]) + (stop if at["last"] else start)
    return Reached(members, done / sum(works), sum(works[: index + 1]) / sum(works))


def _seen(times: np.ndarray, seen: int, now: int) -> float:
    """The observations made so far, with a fraction for the steps made towards the next one."""
    last, following = int(times[seen - 1]) if seen else 0, int(times[seen])
    return seen + (now - last) / max(following - last, 1)


def segments(
    work: list[Work], plans: list[Plan], restored: Restored | None, reporter: Reporter, team: Team
) -> Iterator[tuple[dict[str, Any], Segment]]:
    """Every segment that is still to be computed, with its position in the run."""
    first = restored.position["variant"] if restored else 0
    for index in range(first, len(work)):
        variant, resume = work[index], None
        begun: Mapping[str, Any] = {"variant": index, "chunk": -1, "segment": 0, "last": True}
        if restored and index == first:
            begun = restored.position
            resume = Position(*(begun[name] for name in Position._fields)), restored.carry
        reporter.report(variant.name, *_reached(work, plans, begun), "compiling")
        pace = Pace(variant.times, plans[index].segment)
        cut = {
            "plan": plans[index],
            "mesh": variant.mesh,
            "resume": resume,
            "most_steps": team.most_steps(pace.most_steps),
        }
        found = sweep(*variant.system, variant.times.tolist(), **cut)
        for segment in pace.timed(found, resume[0] if resume else NOWHERE):
            at = {"variant": index, **segment.position._asdict(), "last": segment.last}
            yield at, segment
            reporter.report(variant.name, *_reached(work, plans, at))


@contextmanager
def _stopwatch(folder: RunFolder, here: Start, mixed: list[str]) -> Iterator[None]:
    """Record the start and the end of a run, its wall time split into compiling and running."""
    folder.record_start(about={**here.environment, **({"mixed": mixed} if mixed else {})}, sources=here.sources)
    began, compiling = time.monotonic(), [0.0]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            compiling.append(duration_secs)

    def end() -> None:
        wall = time.monotonic() - began
        folder.record_end(compile_s=round(sum(compiling), 3), run_s=round(wall - sum(compiling), 3))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield
    except BaseException:
        # It may also keep its own end from being recorded: what is told is what came first.
        with suppress(Setback, OSError):
            end()
        raise
    else:
        end()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
