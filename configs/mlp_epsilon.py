"""What the first step does outside of S_big, over eps: Section 3.2 of Xu et al. 2026.

    python -m experiments.main --config=configs/mlp_epsilon.py[:smoke|cpu|paper]

"After the first GD step, the norms of the perturbation terms grow by at most O(eps)", the C_1 eps of Theorem 3.5. The
setting of Figure 3 (``mlp_theorem``), eps from 1e-4 to 0.1, and one step, of which the change of the blocks W~_2, W~_3
and W~_4 is observed, and the same blocks of a random S_big. ELU, GELU and SiLU as in the paper; tanh, whose phi''(0) is
0; ReLU and Leaky ReLU, which the theorem is not about. A second step is made, which no claim uses.

Time on two cores: smoke 20 s, paper 5 minutes. cpu has ten seeds, paper a hundred.
Expect: the change is proportional to eps^s, s = 1 (ELU, GELU, SiLU), 2 (tanh) and 0 (ReLU, Leaky ReLU), and 0 in a
random subspace with every activation, each within 0.002 (bound 0.005). At eps = 0.001 it is 2.1e-6 (GELU), 0.04 (ReLU)
and 0.08 (random), medians of the norm over sqrt p. The bound C_1 eps = r(eps) is a hundred times as large as the change
or more.
"""

from ml_collections import ConfigDict, config_dict

SCALES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
EVERY = ("elu", "gelu", "silu", "tanh", "relu", "leaky_relu")
PROFILES = {
    "smoke": {"num_seeds": 2, "activations": ("gelu", "relu"), "scales": SCALES[::3]},
    "cpu": {"num_seeds": 10, "activations": EVERY, "scales": SCALES},
    "paper": {"num_seeds": 100, "activations": EVERY, "scales": SCALES},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="smooth_mlp.two_layers",
        name="",
        study="epsilon",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"width": 72, "activation": "gelu", "init": "orthogonal", "scale": 0.01},
        opt={"step_size": 0.01, "num_steps": 1},
        data={"dimension": 64, "num_classes": 4, "num_samples": 1000},
        observe={"num_times": 2, "spacing": "even"},
        sweep={"net": {"scale": size["scales"]}},
        variants=tuple({"name": name, "net.activation": name} for name in size["activations"]),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
