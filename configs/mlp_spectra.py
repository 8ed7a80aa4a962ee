"""Smooth against nonsmooth activations: Figures 1, 2 and 8 to 10 of Xu et al. 2026.

    python -m experiments.main --config=configs/mlp_spectra.py[:smoke|cpu|paper]

Gradient descent on the sum of squared errors of four-layer networks, d = m = 32, all layers orthogonal, on a whitened
Gaussian mixture of 4 classes. Every layer is trained; singular values and subspaces of the first three are observed.

Time on two cores: smoke 30 s.
Expect: ||sin Theta||_F^2 of the middle subspaces with those of eq. (8), worst layer, side and seed: at step 100 at most
0.063 (smooth) and at least 1.90 (not smooth; bound 1.9), at step 300 0.87 and 2.83, at equal loss 0.19 and 1.52 (bound
1.5). RReLU is the nearest to its bounds. Random subspaces have 6, and 8 is the largest possible value.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 12, "num_samples": 200, "activations": ("elu", "rrelu")},
    "cpu": {"num_seeds": 10, "num_steps": 300},
    "paper": {"num_seeds": 10, "num_steps": 500},
}
EVERY_ACTIVATION = ("elu", "gelu", "silu", "relu", "leaky_relu", "rrelu")


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"activations": EVERY_ACTIVATION, "num_samples": 2000} | PROFILES[profile]
    num_samples = size["num_samples"]
    return config_dict.create(
        experiment="smooth_mlp.deep",
        name="",
        study="spectra",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 4, "width": 32, "scale": 1.0, "activation": "elu", "last": "orthogonal"},
        opt={
            "method": "sgd",
            "loss": "squared",
            "step_size": 1e-3,
            "momentum": 0.0,
            "batch_size": num_samples,
            "num_steps": size["num_steps"],
        },
        data={"source": "mixture", "dimension": 32, "num_classes": 4, "num_samples": num_samples, "whiten": True},
        # Every step is observed: members are compared at the first step at which each has reached the same loss.
        observe={"num_times": size["num_steps"] + 1, "spacing": "even"},
        sweep={},
        variants=tuple({"name": name, "net.activation": name} for name in size["activations"]),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
