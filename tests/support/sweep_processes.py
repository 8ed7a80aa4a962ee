"""As a script, the sweep of sweep_devices.py on the devices of several processes, begun, handed on and resumed.

``python -m tests.support.sweep_processes FOLDER HOST:PORT COUNT INDEX`` writes what this process found.
"""

import sys

from sweep_devices import TIMES, observe, shared_by_all, walk

import jax  # isort: skip
import numpy as np
from jax.sharding import Mesh

from experiments.runner.team.peers import Peers
from experiments.runner.team.team import join
from lawlib.dynamics.placement import gathered
from lawlib.dynamics.sweep import grid, outline, plan, sweep

# The sign of a zero, numbers that are none, the smallest one.
SPECIAL = np.array([-0.0, np.nan, -np.inf, 5e-324])


def swept():
    """What ``plan`` and ``sweep`` take first."""
    return walk()._replace(observe=observe), jax.random.key(7), grid(11, {"rate": (0.3,), "noise": (0.2,)}, np.float64)


def main(folder, coordinator, count, index):
    jax.config.update("jax_enable_x64", True)
    team = join(Peers(coordinator, int(count), int(index)))
    mesh, system = Mesh(np.array(jax.devices()), ("members",)), (*swept(), shared_by_all())
    cut = plan(*system, len(TIMES), on_cpu=True, num_devices=mesh.size, segment=4)
    first = next(sweep(*system, TIMES, plan=cut, mesh=mesh))
    assert len(first.trajectory.problem.matrix.sharding.device_set) == mesh.size
    carry = gathered(first.trajectory._replace(observations={}))
    handed_on = team.arrays(carry if team.leads else outline(*system, cut))
    segments = [first, *sweep(*system, TIMES, plan=cut, mesh=mesh, resume=(first.position, handed_on))]
    names = segments[0].observations
    found = {name: np.concatenate([s.observations[name] for s in segments], axis=1) for name in names}
    found["special"] = team.arrays(SPECIAL if team.leads else np.zeros_like(SPECIAL))
    found["said"] = np.array(team.all_said({"index": team.process, "long": "x" * 10 * team.process}))
    found["noted"] = np.array(team.noted(asked=team.process == 2, due=team.process == 1))
    found["limits"] = np.array([team.most_steps(lambda: 7 if team.leads else None)(), team.told(team.process)])
    np.savez(f"{folder}/{index}.npz", **found)
    team.part()


if __name__ == "__main__":
    main(*sys.argv[1:])
