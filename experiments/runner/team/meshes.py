"""The devices that share the members of a run, and the samples of a member: as many of each process."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.runner.store import InputError
from experiments.runner.team.team import Team
from lawlib.descent.data_parallel import SAMPLES
from lawlib.dynamics.placement import gathered, placed
from lawlib.dynamics.sweep import MEMBERS, Members, spread
from lawlib.dynamics.system import Dynamics

__all__ = ["connect", "dividing", "mesh_of"]


def mesh_of(system: tuple[Dynamics, jax.Array, Members, Any], num_members: int, sample_devices: int = 1) -> Mesh:
    """The devices that share so many members; fewer than processes are filled up by copies of the last.

    With ``sample_devices`` above 1 each member has that many devices of one process, along a second axis.

    Raises:
        InputError: ``sample_devices`` does not divide the devices of a process.
    """
    dynamics, key, members, shared = system
    counted = members._replace(seeds=np.empty(num_members, np.uint32))
    groups = _grouped(_by_process(jax.devices()), sample_devices)
    num_groups = groups.shape[0] * groups.shape[1]
    count = spread(dynamics, key, counted, shared, num_groups, on_cpu=jax.default_backend() == "cpu")
    return _of_each(groups, math.ceil(count / len(groups)))


def dividing(mesh: Mesh, batches: int, team: Team) -> Mesh:
    """As many devices of the mesh as divide the batches of a chunk, which may be meant for another number of them.

    Raises:
        InputError: The processes cannot divide it.
    """
    groups = _grouped(_by_process(list(mesh.devices.ravel())), mesh.shape.get(SAMPLES, 1))
    for count in range(groups.shape[1], 0, -1):
        if batches % (count * team.size) == 0:
            return _of_each(groups, count)
    msg = f"the run was begun in chunks of {batches} batches, which {team.size} processes cannot divide"
    raise InputError([f"{msg}; start another number of them, or choose another --workdir"])


def connect(meshes: Iterable[Mesh]) -> None:
    """Let the processes meet on their common devices once; all of them call it at about the same time.

    Gloo waits 30 s for the others where devices are first used together, and half an hour later on. One process may
    have its programs compiled already, and another compile them for minutes.
    """
    for mesh in dict.fromkeys(meshes):
        gathered(placed(np.zeros(mesh.shape[MEMBERS]), NamedSharding(mesh, P(MEMBERS))))


def _by_process(devices: list[Any]) -> np.ndarray:
    num_processes = len({device.process_index for device in devices})
    ordered = np.empty(len(devices), object)
    ordered[:] = sorted(devices, key=lambda device: device.process_index)
    return ordered.reshape(num_processes, -1)


def _grouped(devices: np.ndarray, size: int) -> np.ndarray:
    """Groups of ``size`` neighbours: (processes, devices of each) becomes (processes, groups of each, size)."""
    num_processes, count = devices.shape
    if count % size:
        line = f"run.sample_devices = {size}: must divide the number of devices of a process, which is {count}"
        raise InputError([f"{line}; on a CPU, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of them"])
    return devices.reshape(num_processes, count // size, size)


def _of_each(groups: np.ndarray, count: int) -> Mesh:
    """So many groups of each process; an axis over the samples only where a group has several devices."""
    size = groups.shape[2]
    chosen = groups[:, :count].reshape(-1, size)
    return Mesh(chosen, (MEMBERS, SAMPLES)) if size > 1 else Mesh(chosen[:, 0], (MEMBERS,))
