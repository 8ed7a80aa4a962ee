"""Whether symmetry decides where smooth networks change: no figure of Xu et al. 2026.

    python -m experiments.main --config=configs/mlp_symmetry.py[:smoke|cpu|paper]

Four-layer ELU and GELU networks as in mlp_deep (d = 32, width 72, squared error, whitened Gaussian mixture of 4
classes, all samples in a step), trained by gradient descent, Muon and Shampoo, which commute with rotations, and by
Adam and sign descent, which act on single entries. They are compared at equal loss: at the first step with L <= 0.55
L_0.

Time on two cores: smoke 30 s, paper 8 minutes.
Expect: symmetry does not decide. In layer 1 block 1 has 0.999 or more of the change under gradient descent, 0.77 to
0.81 under Adam and sign descent, and 0.22 to 0.24 under Shampoo, little more than a random subspace has (0.18 to 0.21).
Muon has 0.98 with ELU and 0.33 with GELU (all medians). The methods with little are those that lift the gradient's
small singular values to the size of the large ones, which a rotation does not change.
"""

from ml_collections import ConfigDict, config_dict

EVERY_METHOD = ("sgd", "muon", "shampoo", "adam", "sign")
PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 5, "methods": ("sgd", "shampoo"), "activations": ("elu",)},
    "cpu": {"num_seeds": 10, "num_steps": 250},
    "paper": {"num_seeds": 20, "num_steps": 250},
}
# With which the loss is 0.55 of its start after 33 to 177 steps, seed by seed.
STEP_SIZES = {
    "elu": {"sgd": 2e-3, "muon": 1e-2, "shampoo": 3e-2, "adam": 5e-4, "sign": 4e-4},
    "gelu": {"sgd": 1e-2, "muon": 2e-2, "shampoo": 1e-1, "adam": 5e-4, "sign": 6e-4},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"methods": EVERY_METHOD, "activations": ("elu", "gelu")} | PROFILES[profile]
    variants = tuple(
        {
            "name": f"{name}_{method}",
            "net.activation": name,
            "opt.method": method,
            "opt.step_size": STEP_SIZES[name][method],
        }
        for name in size["activations"]
        for method in size["methods"]
    )
    return config_dict.create(
        experiment="smooth_mlp.deep",
        name="",
        study="symmetry",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 4, "width": 72, "scale": 0.1, "activation": "gelu", "last": "uniform"},
        opt={
            "method": "sgd",
            "loss": "squared",
            "step_size": 1e-3,
            "momentum": 0.0,
            "batch_size": 1000,
            "num_steps": size["num_steps"],
        },
        data={"source": "mixture", "dimension": 32, "num_classes": 4, "num_samples": 1000, "whiten": True},
        # Every step is observed: members are compared at the first step at which each has reached the same loss.
        observe={"num_times": size["num_steps"] + 1, "spacing": "even"},
        sweep={},
        variants=variants,
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
