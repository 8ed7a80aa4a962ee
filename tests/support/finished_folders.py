"""The folder of a finished run, made up: two variants, of which one sweeps more, and a member that diverged."""

import json

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner import claims, settings
from experiments.runner.store import open_run

STEPS = (0, 2, 4)
SIZES = (0.1, 0.2)
MOMENTA = (0.0, 0.9)
# In plain, the second seed at the first step size, from step 2 on: later numbers of it are finite and mean nothing.
DIVERGED = (1, 0)
COMMAND = [".../python", "-m", "experiments.main", "--config=configs/toy.py:smoke", "--workdir=.../old", "--strict"]


def config(**changes):
    plain = {
        "experiment": "toy",
        "name": "",
        "seed": 7,
        "num_seeds": 2,
        "net": {"depth": 2, "init": "orthogonal"},
        "opt": {"momentum": 0.5, "step_size": 0.1},
        "sweep": {"opt": {"step_size": SIZES}},
        "variants": ({"name": "plain"}, {"name": "swept", "net.depth": 3, "sweep.opt.momentum": MOMENTA}),
    }
    return ConfigDict(plain | changes).lock()


def observations(own, names):
    """Numbers of which no two are alike, NaN and an infinity among them."""
    swept = settings.hyperparameters(own)
    axes = {"seed": np.arange(own.num_seeds), **{path.split(".")[-1]: np.array(v) for path, v in swept.items()}}
    shape = tuple(map(len, axes.values()))
    draw = np.random.default_rng(own.net.depth)

    def numbers(*axes):
        return draw.standard_normal((*shape, len(STEPS), *axes))

    about = {"units": "rad", "long_name": "a loss, of course; with a comma", "source": "eq. 2"}
    loss = numbers()
    loss[0, 0, ..., 1] = np.nan
    loss[0, 1, ..., 1] = np.inf
    data = {
        "loss": ((*axes, "step"), loss, about),
        "angle": ((*axes, "step", "layer"), numbers(own.net.depth), about),
        "count": ((*axes, "step"), np.arange(loss.size).reshape(loss.shape), about),
        "stable": ((*axes, "step"), numbers() > 0, about),
        "single": ((*axes, "step"), numbers().astype(np.float32), about),
        "wide": ((*axes, "step", "layer", "index"), numbers(own.net.depth, 9), about),
    }
    if own.net.depth == 2:
        data["gram"] = ((*axes, "step", "row", "column"), numbers(3, 2), about)
        data["depends"] = ((*axes, "step"), numbers(), about)
    else:
        data["depends"] = ((*axes, "step", "layer"), numbers(own.net.depth), about)
    diverged = np.full(shape, -1, np.int32)
    if own.net.depth == 2 and own.num_seeds > 1:
        diverged[DIVERGED] = 2
    data["diverged_at"] = (tuple(axes), diverged, about)
    data["converged_at"] = (tuple(axes), np.full(shape, -1, np.int32), about)
    attrs = {"variant": own.name, "config": json.dumps(settings.to_plain(own))}
    return xr.Dataset({name: data[name] for name in names or data}, {**axes, "step": list(STEPS)}, attrs)


def rows(bound=1e-12, last="T1.last"):
    """Three claims: one that holds, one of a number that is none, one without a verdict."""
    source = {"paper": "Yaras et al. 2023", "figure": "Fig. 3", "kind": "law"}
    return (
        claims.judge(
            "T1.first", **source, statement="small, [and] so", values=[1e-15, 2e-15], relation="<", bound=bound
        ),
        claims.judge("T1.nan", **source, statement="never", values=[np.nan, np.inf], relation="<", bound=1.0),
        claims.unjudged("not_run", last, **source, statement="later", reason="no time"),
    )


SUMMARY = {
    "runs": [
        {"run": "plain", "members": 2, "diverged": 1, "columns": {"loss": {"median": 0.5, "numbers": 1, "of": 2}}},
        {"run": "swept", "members": 2, "diverged": 0, "columns": {}},
    ],
    "comparisons": {"ratio": {"median": 2.0, "min": 1.0, "max": 3.0, "numbers": 2, "of": 2}},
}


def finished(folder, *, names=(), table=None, **changes):
    """Write the folder of a run that is finished."""
    whole = config(**changes)
    with open_run(folder, settings.to_plain(whole)) as run:
        run.record_start(COMMAND)
        run.record_end(compile_s=1.0, run_s=2.0)
        groups = ((name, observations(own, names)) for name, own in settings.expand(whole))
        run.write_results(groups, {"config": json.dumps(settings.to_plain(whole))})
        run.write_json("summary.json", SUMMARY)
        (folder / "claims.md").write_text("| id |\n")
        (folder / "claims.json").write_text(claims.to_json(rows() if table is None else table, {"experiment": "toy"}))
    return folder
