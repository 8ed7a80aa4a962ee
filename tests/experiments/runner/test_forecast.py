"""The forecast of memory and disk: exact counts on a system whose sizes are known, and refusals that name what fits."""

import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from synthetic import config_of

from experiments.runner import memory
from experiments.runner import run as runner
from experiments.runner.forecast import in_units, need_of, refusals
from experiments.runner.memory import Room, room
from experiments.runner.settings import expand
from experiments.runner.store import InputError
from lawlib.dynamics.system import Dynamics

KB, MB, GB = 10**3, 10**6, 10**9
PLENTY = Room(host=10**15, device=10**15, disk=10**15)
# 1000 numbers drawn once, 2000 in the state, 5 + 1 observed; the sweep has 2 x 2 values.
SYSTEM = Dynamics(
    init=lambda key, hyperparameters, shared: (jnp.zeros(1000, "float32"), jnp.zeros(2000, "float32")),
    step=lambda t, state, problem, shared: state,
    observe=lambda t, state, problem, shared: {"five": state[:5], "one": state[0]},
)


def needs(*overrides):
    config = config_of("dln_parsimony", "variants=({},)", *overrides, profile="smoke")
    return [need_of(name, own, SYSTEM, jax.random.key(0), ()) for name, own in expand(config)]


def test_bytes_are_counted_from_the_shapes_of_one_member():
    (need,) = needs("num_seeds=7", "opt.num_steps=1000", "observe.num_times=101", "run.segment=10")
    assert need.num_members == 28
    assert need.results == 28 * (101 * 24 + 16)
    assert need.on_device == 4000 + 2 * 8000 + 10 * 24
    assert need.listed == 28 * 16 + 101 * 64
    assert need.judged == 3 * 7 * 101 * 20


def test_no_array_is_as_long_as_the_members_or_the_times():
    (need,) = needs("num_seeds=4000000000", "opt.num_steps=2000000000", "observe.num_times=1000000000")
    assert need.num_members == 16 * GB
    assert len(refusals([need], PLENTY)) == 2


def test_pieces_and_results_are_on_the_disk_together():
    (need,) = needs()
    assert refusals([need], PLENTY._replace(disk=2 * need.results)) == []
    assert refusals([need, need], PLENTY._replace(disk=4 * need.results - 1)) != []


def test_what_fits_is_not_refused():
    assert refusals(needs("num_seeds=100"), PLENTY) == []


@pytest.mark.parametrize(
    ("overrides", "short", "field"),
    [
        (("num_seeds=100000",), {"disk": 10 * MB}, "num_seeds"),
        (("num_seeds=100000",), {"host": 3 * MB}, "num_seeds"),
        (("opt.num_steps=2000000", "observe.num_times=1000000", "num_seeds=1"), {"host": 5 * MB}, "observe.num_times"),
    ],
)
def test_the_largest_that_fits_fits_and_twice_as_much_does_not(overrides, short, field):
    short = PLENTY._replace(**short)
    (line,) = refusals(needs(*overrides), short)
    most = int(line.split(f"{field} <= ")[1].split()[0])
    assert refusals(needs(*overrides, f"{field}={most}"), short) == []
    assert refusals(needs(*overrides, f"{field}={2 * most}"), short) != []


def test_the_folder_of_a_resumed_run_counts_as_room(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7))
    (tmp_path / "checkpoint" / "pieces").mkdir(parents=True)
    (tmp_path / "checkpoint" / "pieces" / "a.npz").write_bytes(bytes(100))
    assert room(tmp_path).disk == 107
    assert room(tmp_path / "new").disk == 7


def test_a_member_may_have_all_memory_of_the_host_however_many_devices_share_it(tmp_path, monkeypatch):
    device = SimpleNamespace(platform="cpu", memory_stats=lambda: None)
    monkeypatch.setattr(jax, "devices", lambda: [device] * 64)
    monkeypatch.setattr(memory, "_host", lambda: 24 * GB)
    assert room(tmp_path)[:2] == (24 * GB, 24 * GB)


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (("memory.max", "memory.current"), 1000 - 600 + 250),
        (("memory.limit_in_bytes", "memory.usage_in_bytes"), 1000 - 600 + 250),
    ],
)
def test_a_container_has_what_its_limit_leaves_and_what_files_would_give_back(names, left, tmp_path, monkeypatch):
    for name, text in zip(names, ("1000", "600"), strict=True):
        (tmp_path / name).write_text(text)
    (tmp_path / "memory.stat").write_text("anon 350\ninactive_file 200\nactive_file 50\n")
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path, *names),))
    assert room(tmp_path).host == left
    (tmp_path / names[0]).write_text("max")
    assert room(tmp_path).host > GB / 2


def test_a_member_that_no_device_holds_is_refused_with_its_parts():
    (line,) = refusals(needs("num_seeds=1"), PLENTY._replace(device=10 * KB))
    assert "one member needs 20" in line
    assert "problem 4 kB" in line
    assert "state 2 x 8 kB" in line


def test_more_settings_than_can_be_judged_are_refused():
    values = ",".join(f"{1 + index * 1e-6:.6f}" for index in range(5001))
    assert "10002 settings" in "".join(refusals(needs(f"sweep.net.scale={values}", "sweep.opt.momentum=0.5,"), PLENTY))


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1250, "1.25 kB"), (3 * GB, "3 GB"), (10**21, "1e+03 EB")]
)
def test_bytes_have_three_digits(count, text):
    assert in_units(count) == text


def test_a_refused_run_leaves_a_folder_that_any_config_can_use(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "room", lambda _: PLENTY._replace(disk=10 * KB))
    with pytest.raises(InputError, match="fits with a smaller network or less data"):
        runner.run(config_of("dln_parsimony", profile="smoke"), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
