"""Each process of a run has as many devices in its mesh, whatever the chunks are."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from experiments.runner.store import InputError
from experiments.runner.team import meshes
from experiments.runner.team.meshes import connect, dividing, mesh_of
from experiments.runner.team.team import Team
from lawlib.dynamics.sweep import grid
from lawlib.dynamics.system import Dynamics


@dataclass(frozen=True)
class Device:
    process_index: int
    id: int
    platform: str = "cpu"


DEVICES = [Device(process, 10 * process + index) for index in range(4) for process in (1, 0)]
SYSTEM = Dynamics(lambda *_: ((), np.zeros(1)), lambda _, state, *__: state, lambda _, state, *__: {"x": state})


def ids(mesh):
    return [device.id for device in mesh.devices.ravel()]


@pytest.mark.parametrize(
    ("num_members", "found"),
    [(1, [0, 10]), (3, [0, 1, 10, 11]), (6, [0, 1, 2, 10, 11, 12]), (50, [0, 1, 2, 3, 10, 11, 12, 13])],
)
def test_members_are_spread_over_as_many_devices_of_each_process(monkeypatch, num_members, found):
    monkeypatch.setattr(jax, "devices", lambda: DEVICES)
    mesh = mesh_of((SYSTEM, jax.random.key(0), grid(1, {}, np.float64), ()), num_members)
    assert ids(mesh) == found
    assert mesh.axis_names == ("members",)


@pytest.mark.parametrize(
    ("batches", "found"), [(16, [0, 1, 2, 3, 10, 11, 12, 13]), (12, [0, 1, 2, 10, 11, 12]), (2, [0, 10])]
)
def test_as_many_devices_as_divide_the_batches_are_used(batches, found):
    assert ids(dividing(Mesh(np.array(DEVICES), ("members",)), batches, Team(2, 0))) == found


@pytest.mark.parametrize(
    ("num_members", "size", "found"),
    [
        (1, 2, [[0, 1], [10, 11]]),
        (3, 2, [[0, 1], [2, 3], [10, 11], [12, 13]]),
        (9, 4, [[0, 1, 2, 3], [10, 11, 12, 13]]),
    ],
)
def test_the_devices_that_share_samples_are_of_one_process(monkeypatch, num_members, size, found):
    monkeypatch.setattr(jax, "devices", lambda: DEVICES)
    mesh = mesh_of((SYSTEM, jax.random.key(0), grid(1, {}, np.float64), ()), num_members, size)
    assert [[device.id for device in group] for group in mesh.devices] == found
    assert mesh.axis_names == ("members", "samples")
    fewer = dividing(mesh, 2, Team(2, 0))
    assert [[device.id for device in group] for group in fewer.devices] == [found[0], found[len(found) // 2]]
    assert fewer.axis_names == mesh.axis_names


def test_groups_into_which_the_devices_of_a_process_cannot_be_divided_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: DEVICES)
    with pytest.raises(InputError) as refused:
        mesh_of((SYSTEM, jax.random.key(0), grid(1, {}, np.float64), ()), 1, 3)
    assert refused.value.problems == [
        "run.sample_devices = 3: must divide the number of devices of a process, which is 4; on a CPU, "
        "XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of them"
    ]


def test_a_chunk_that_the_processes_cannot_divide_is_refused():
    with pytest.raises(InputError) as refused:
        dividing(Mesh(np.array(DEVICES), ("members",)), 7, Team(2, 0))
    assert refused.value.problems == [
        "the run was begun in chunks of 7 batches, which 2 processes cannot divide; "
        "start another number of them, or choose another --workdir"
    ]


def test_one_process_meets_itself_once_on_equal_meshes(monkeypatch):
    sent = []
    monkeypatch.setattr(meshes, "gathered", lambda x: sent.append(x.sharding.mesh) or x)
    mesh = Mesh(np.array(jax.devices()), ("members",))
    connect([mesh, Mesh(np.array(jax.devices()), ("members",))])
    assert sent == [mesh]
