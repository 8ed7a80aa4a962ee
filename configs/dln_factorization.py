"""The small equivalent network: Figure 1 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_factorization.py[:smoke|cpu|paper]

A d x d deep linear network of three layers learns a target of rank r from an orthogonal initialization of scale 1e-3.
Its 2r x 2r equivalent runs with it, by separate code. Both take the same steps, at a distance of eps^L sqrt(d - 2r)
that vanishes once the term of rho is added. The control has the bases of another draw of Q. ``small`` is the small
network alone at the paper's d = 1000, its bases drawn without d x d weights.

Time on two cores: smoke 20 s. Nearly all of cpu's time is for the d x d network of d = 300, and of paper's for that of
d = 1000. There a checkpoint is written every 110 steps, and the same command resumes. benchmarks/results/wall_clock.md
has the wall time of both networks at each loss, the paper's right panel; equivalent.md beside it the time of a step.
Expect: both networks take equally many steps. Distances agree with the prediction to a relative error of 7e-6 (paper:
7e-7). With the term of rho they are below 6e-13 of the target's norm (paper: 3e-13).
"""

from ml_collections import ConfigDict, config_dict

SMOKE = {"net.width": 24, "data.rank": 2, "net.scale": 0.01, "opt.step_size": 8e-3}
# The step sizes keep eta sigma_1^{4/3}; the paper's is 1e-3 at d = 1000 (1e3 on the mean loss).
PROFILES = {
    "smoke": {
        "num_seeds": 2,
        "num_steps": 8000,
        "variants": (
            {"name": "pair_d24_r2", **SMOKE},
            {"name": "unfolded_d24_r2", **SMOKE, "net.skip": 300},
            {"name": "control_d24_r2", "net.kind": "control", **SMOKE},
            {
                "name": "small_d100_r5",
                "net.kind": "small",
                "net.width": 100,
                "net.scale": 0.01,
                "opt.step_size": 4.6e-3,
            },
        ),
    },
    "cpu": {
        "num_seeds": 3,
        "num_steps": 30_000,
        "variants": (
            {"name": "pair_d300_r5", "net.width": 300, "opt.step_size": 2.2e-3},
            {"name": "pair_d100_r10", "net.width": 100, "data.rank": 10, "opt.step_size": 4.6e-3},
            {
                "name": "control_d100_r10",
                "net.kind": "control",
                "net.width": 100,
                "data.rank": 10,
                "opt.step_size": 4.6e-3,
            },
            {"name": "small_d1000_r5", "net.kind": "small"},
            {"name": "small_d1000_r10", "net.kind": "small", "data.rank": 10},
        ),
    },
    "paper": {
        "num_seeds": 1,
        "num_steps": 22_000,
        "variants": (
            # A checkpoint after every observation, 110 steps apart.
            {"name": "pair_d1000_r5", "run.segment": 1},
            {"name": "small_d1000_r5", "net.kind": "small"},
            {"name": "small_d1000_r10", "net.kind": "small", "data.rank": 10},
        ),
    },
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="parsimony.compression",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"kind": "pair", "depth": 3, "width": 1000, "scale": 1e-3, "skip": 0},
        # the tolerance is on the mean loss, 1/2 mean (W_{L:1} - Phi)^2
        opt={"step_size": 1e-3, "num_steps": size["num_steps"], "tolerance": 1e-10},
        data={"rank": 5},
        observe={"num_times": 201, "spacing": "even"},
        sweep={},
        variants=size["variants"],
        run={"chunk": 0, "batch": 1, "segment": 10, "checkpoint_seconds": 30.0},
    )
