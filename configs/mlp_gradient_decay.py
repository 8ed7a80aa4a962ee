"""How the gradient's norm and its singular values decay (Assumption 3.4): Figures 12 and 13 of Xu et al. 2026.

    python -m experiments.main --config=configs/mlp_gradient_decay.py[:smoke|cpu|paper]

The setting of Figure 3 (``mlp_theorem``) for 250 steps, each of them observed, from eps = 0.001, 0.01 and 0.1. Figure
12 is drawn at 0.01.

Time on two cores: smoke 15 s. cpu has the paper's own size and ten seeds, paper a hundred.
Expect (cpu): sigma_{K+1}(G_1(t)) stays below 0.004 sigma_K(W_2^T Y X^T) (bound 0.01). The norm falls to 0.002 (ELU) to
0.01 (GELU) of its start. In most seeds it rises again, with GELU and SiLU from t = 149 to 228 on, by up to 2e-6 of its
start a step. One claim fails: with ELU and eps = 0.01 the rise begins at t = 72 in the earliest seed, before t = 100.
ReLU, the control in the summary, has 0.13 to 0.19 sigma_K(W_2^T Y X^T), and its norm rises in the first or second step.
The summary has M and G_3 of Assumption 3.4: M is at most 1.06, and 1 - G_3 is the largest of these shares.
"""

from ml_collections import ConfigDict, config_dict

# ReLU is no subject of the figures, and is compared with them.
EVERY = ("elu", "gelu", "silu", "relu")
PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 250, "activations": ("gelu",), "scales": (0.01,)},
    "cpu": {"num_seeds": 10, "num_steps": 250, "activations": EVERY, "scales": (0.001, 0.01, 0.1)},
    "paper": {"num_seeds": 100, "num_steps": 250, "activations": EVERY, "scales": (0.001, 0.01, 0.1)},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="smooth_mlp.two_layers",
        name="",
        study="decay",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"width": 72, "activation": "gelu", "init": "orthogonal", "scale": 0.01},
        opt={"step_size": 0.01, "num_steps": size["num_steps"]},
        data={"dimension": 64, "num_classes": 4, "num_samples": 1000},
        observe={"num_times": size["num_steps"] + 1, "spacing": "even"},
        sweep={"net": {"scale": size["scales"]}},
        variants=tuple({"name": name, "net.activation": name} for name in size["activations"]),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
