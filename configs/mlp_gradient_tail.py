"""The gradient's tail at initialization, smooth or not: Figure 11 and Proposition B.1 of Xu et al. 2026.

    python -m experiments.main --config=configs/mlp_gradient_tail.py[:smoke|cpu|paper]

All singular values of G_1(0) in the setting of Figure 3 (``mlp_theorem``), eps = 0.001, 0.01 and 0.1: GELU and ReLU as
in the paper, and SiLU, ELU and tanh. Proposition B.1 has ReLU, as many samples as dimensions, and
W_1(0)_ij ~ N(0, eps^2 / m): d = 32 at m = 72, where the bound says nothing, and at m = 8192, and d = 64 at m = 4096.
Nothing is trained: a run makes a single step, which no claim uses.

Time on two cores: smoke 30 s. cpu has the paper's own size and ten seeds, paper a hundred.
Expect (cpu): slopes of the tail in eps within 0.011 of 1 (GELU, SiLU, ELU), 0.031 of 2 (tanh) and 0.014 of 0 (ReLU).
B.1's bound is at most 0.8 of the value that it bounds, and positive in half of the members at d = 64, m = 4096.
"""

from ml_collections import ConfigDict, config_dict

SCALES = (0.001, 0.01, 0.1)
PROFILES = {
    "smoke": {"num_seeds": 2, "activations": ("gelu",), "squares": ((32, 8192),)},
    "cpu": {"num_seeds": 10},
    "paper": {"num_seeds": 100},
}
EVERY_ACTIVATION = ("gelu", "relu", "silu", "elu", "tanh")
EVERY_SQUARE = ((32, 72), (32, 8192), (64, 4096))


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"activations": EVERY_ACTIVATION, "squares": EVERY_SQUARE} | PROFILES[profile]
    spectra = tuple({"name": name, "net.activation": name} for name in size["activations"])
    squares = tuple(
        {
            "name": f"bound_d{d}_m{m}",
            "net.activation": "relu",
            "net.init": "normal",
            "net.width": m,
            "data.dimension": d,
            "data.num_samples": d,
        }
        for d, m in size["squares"]
    )
    return config_dict.create(
        experiment="smooth_mlp.two_layers",
        name="",
        study="tail",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"width": 72, "activation": "gelu", "init": "orthogonal", "scale": 0.01},
        opt={"step_size": 0.01, "num_steps": 1},
        data={"dimension": 64, "num_classes": 4, "num_samples": 1000},
        bound={"failure": 0.1},
        observe={"num_times": 2, "spacing": "even"},
        sweep={"net": {"scale": SCALES}},
        variants=spectra + squares,
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
