"""Muon on the small equivalent network: no figure of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_muon.py[:smoke|cpu|paper]

A d x d network of three layers is trained by Muon and by Nesterov's momentum on a target of rank 3, and so is its 6 x 6
equivalent (compress.transformed), from the same start: d = 300, in the profile paper 1000, the width of Figure 1.

Time on two cores: smoke 20 s.
Expect: the two networks agree to rounding at every step, with (d / 6)^3 times fewer multiplications in each product.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 5, "num_times": 3, "width": 20},
    "cpu": {"num_seeds": 3, "num_steps": 50, "num_times": 6, "width": 300},
    "paper": {"num_seeds": 3, "num_steps": 50, "num_times": 6, "width": 1000},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="parsimony.optimizers",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": size["width"], "scale": 1.0},
        opt={
            "methods": ("muon", "nesterov"),
            # Singular values of the target grow like sqrt(d), so that gradient descent needs a smaller step.
            "step_sizes": (0.01, 1e-4),
            "momentum": 0.9,
            "weight_decay": 0.0,
            "clip": 1.0,
            "start": 0.1,
            "beta_2": 0.999,
            "epsilon": 1e-8,
            "batch_size": 0,
            "num_steps": size["num_steps"],
        },
        data={"source": "low_rank", "rank": 3, "num_samples": size["width"]},
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={},
        variants=({"name": f"d{size['width']}"},),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
