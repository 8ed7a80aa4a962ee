"""As a script, the small VGG-16 trained with the images of a batch on one device and divided over several.

``python -m tests.support.vgg_devices FILE`` on four devices writes the observations and the last weights of each case.
"""

import sys

import experiments  # noqa: F401  (prepares the process before JAX touches a device)

import jax  # isort: skip
import numpy as np
import tiny_vgg

from experiments.laws.smooth_mlp.vgg_heads import EXPERIMENT
from experiments.runner import run
from experiments.runner.team.team import Team
from lawlib.dynamics.sweep import sweep

FIELDS = (
    "name=silu_full",
    "opt.trains=all",
    "opt.num_steps=3",
    "opt.step_size=0.1",
    "net.scale=0.6",
    "observe.num_times=4",
)
# Of each case: the seeds, the devices of a member, the members stepped side by side, and the shape of the mesh.
CASES = {
    "one each": (2, 1, 1, (2,)),
    "four for the first": (1, 4, 1, (1, 4)),
    "two each": (2, 2, 1, (2, 2)),
    "four for two side by side": (2, 4, 2, (1, 4)),
}


def config_of(seeds, devices, batch):
    own = f"num_seeds={seeds}", f"run.sample_devices={devices}", f"run.batch={batch}"
    return tiny_vgg.config_of(*FIELDS, "observe.num_times=4", *own)


def swept(seeds, devices, batch, shape):
    """The observations, and the leaves of the weights after the last step."""
    work = run.work_of(config_of(seeds, devices, batch), EXPERIMENT)
    plans = run.plans_of(work)
    ((only,), (cut,)) = run.divided_by(work, plans, Team()), plans
    assert only.mesh.devices.shape == shape
    *_, last = sweep(*only.system, only.times.tolist(), plan=cut._replace(segment=len(only.times)), mesh=only.mesh)
    weights = jax.tree.leaves(last.trajectory.state.state.weights)
    return last.observations | {f"weights_{index}": np.asarray(leaf) for index, leaf in enumerate(weights)}


def main(path):
    run.prepare()
    tiny_vgg.install()
    np.savez(path, **{f"{case}: {name}": x for case, about in CASES.items() for name, x in swept(*about).items()})


if __name__ == "__main__":
    main(sys.argv[1])
