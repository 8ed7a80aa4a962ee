"""As a script, the small VGG-16 trained with the images of a batch on one device and divided over several.

``python -m tests.support.vgg_devices FOLDER`` on four devices writes found.npz, the observations and the last weights
of each case, and said.json, what a run folder says of the division.
"""

import json
import sys
from pathlib import Path

import experiments  # noqa: F401  (prepares the process before JAX touches a device)

import jax  # isort: skip
import numpy as np
import tiny_vgg

from experiments.laws.smooth_mlp.vgg_heads import EXPERIMENT
from experiments.runner import run
from experiments.runner.store import InputError
from experiments.runner.team.team import Team
from lawlib.dynamics.sweep import sweep

FIELDS = ("name=silu_full", "opt.trains=all", "opt.num_steps=3", "opt.step_size=0.1", "observe.num_times=4")
# Of each case: the seeds, the devices of a member, the members stepped side by side, and the shape of the mesh.
CASES = {
    "one device": (1, 1, 1, (1,)),
    "four for a member": (1, 4, 1, (1, 4)),
    "one each": (2, 1, 1, (2,)),
    "two each": (2, 2, 1, (2, 2)),
    "four for two side by side": (2, 4, 2, (1, 4)),
}


def config_of(seeds, devices, batch):
    return tiny_vgg.config_of(*FIELDS, f"num_seeds={seeds}", f"run.sample_devices={devices}", f"run.batch={batch}")


def swept(seeds, devices, batch, shape):
    """The observations, and the leaves of the weights after the last step."""
    work = run.work_of(config_of(seeds, devices, batch), EXPERIMENT)
    plans = run.plans_of(work)
    ((only,), (cut,)) = run.divided_by(work, plans, Team()), plans
    assert only.mesh.devices.shape == shape
    *_, last = sweep(*only.system, only.times.tolist(), plan=cut._replace(segment=len(only.times)), mesh=only.mesh)
    weights = jax.tree.leaves(last.trajectory.state.state.weights)
    return last.observations | {f"weights_{index}": np.asarray(leaf) for index, leaf in enumerate(weights)}


def recorded(folder):
    """What a run says of the division in its provenance, and when it is to resume with another one."""
    run.run(config_of(1, 4, 1), folder)
    starts = json.loads((folder / "provenance.json").read_text())
    try:
        run.run(config_of(1, 2, 1), folder)
    except InputError as refused:
        return {"provenance": starts, "refused": refused.problems}
    return {}


def main(folder):
    run.prepare()
    tiny_vgg.install()
    found = {f"{case}: {name}": x for case, about in CASES.items() for name, x in swept(*about).items()}
    np.savez(folder / "found.npz", **found)
    (folder / "said.json").write_text(json.dumps(recorded(folder / "run")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
