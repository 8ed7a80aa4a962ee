"""The devices that share the members of a run: as many of each process."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.runner.store import InputError
from experiments.runner.team.team import Team
from lawlib.dynamics.placement import gathered, placed
from lawlib.dynamics.sweep import MEMBERS, Members, spread
from lawlib.dynamics.system import Dynamics

__all__ = ["connect", "dividing", "mesh_of"]


def mesh_of(system: tuple[Dynamics, jax.Array, Members, Any], num_members: int) -> Mesh:
    """The devices that share so many members; fewer than processes are filled up by copies of the last."""
    dynamics, key, members, shared = system
    counted = members._replace(seeds=np.empty(num_members, np.uint32))
    devices = _by_process(jax.devices())
    count = spread(dynamics, key, counted, shared, devices.size, on_cpu=jax.default_backend() == "cpu")
    return _of_each(devices, math.ceil(count / len(devices)))


def dividing(mesh: Mesh, batches: int, team: Team) -> Mesh:
    """As many devices of the mesh as divide the batches of a chunk, which may be meant for another number of them.

    Raises:
        InputError: The processes cannot divide it.
    """
    devices = _by_process(list(mesh.devices.ravel()))
    for count in range(devices.shape[1], 0, -1):
        if batches % (count * team.size) == 0:
            return _of_each(devices, count)
    msg = f"the run was begun in chunks of {batches} batches, which {team.size} processes cannot divide"
    raise InputError([f"{msg}; start another number of them, or choose another --workdir"])


def connect(meshes: Iterable[Mesh]) -> None:
    """Let the processes meet on their common devices once; all of them call it at about the same time.

    Gloo waits 30 s for the others where devices are first used together, and half an hour later on. One process may
    have its programs compiled already, and another compile them for minutes.
    """
    for mesh in dict.fromkeys(meshes):
        gathered(placed(np.zeros(mesh.size), NamedSharding(mesh, P(MEMBERS))))


def _by_process(devices: list[Any]) -> np.ndarray:
    num_processes = len({device.process_index for device in devices})
    ordered = np.empty(len(devices), object)
    ordered[:] = sorted(devices, key=lambda device: device.process_index)
    return ordered.reshape(num_processes, -1)


def _of_each(devices: np.ndarray, count: int) -> Mesh:
    return Mesh(devices[:, :count].ravel(), (MEMBERS,))
