"""The blocks of W_1 that a step may change, and by how much: Theorem D.11 and Figure 3 of Xu et al. 2026.

    python -m experiments.main --config=configs/mlp_theorem.py[:smoke|cpu|paper]

Two layers, d = 64, m = 72, K = 4, N = 1000 whitened samples of a Gaussian mixture, W_2 ~ U(-1, 1) frozen, W_1(0)
eps-orthogonal, eps = eta = 0.01, gradient descent on the squared error summed over entries. 250 steps, each of them
observed. Figure 3 ends at step 100. Besides the paper's activations ReLU, to which the theorem's first form also
applies.

Time on two cores: smoke 20 s. cpu has the paper's own size and ten seeds, paper a hundred.
Expect (cpu): block 1 carries 0.996 to 0.999 of the change at t = 100 and 0.98 to 0.99 at t = 250 (medians of ReLU: 0.6
and 0.5, of a random subspace: 0.03). The first form's ratio is at most 0.90, and at least 0.83 at some step of every
run (ReLU: 0.74). The second form is 170 to 320 times rho(t) in the median. A bound of A(t) or rho(t) is judged at the
steps at which it is below what is known without it: Lemma D.9 at one or two steps, the second form at the first step or
at none, Wedin's bound at 5 to 9 steps (ELU) and 22 to 39 (GELU, SiLU), where A(t) is at most 0.15 of it. With measured
constants in place of gamma_L and r(eps), which are infinite for ReLU, Lemma D.9 is judged at 2 or 3 (ELU), 11 to 16
(GELU) or 12 to 17 steps (SiLU), and at none of ReLU. M is 1.00 to 1.01, G_3 0.996 to 0.999 (ReLU: 0.81 to 0.87). A
random S_big exceeds the first form a thousand times and more (ReLU: at most 1.2 times).
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 12, "activations": ("gelu",)},
    "cpu": {"num_seeds": 10, "num_steps": 250, "activations": ("elu", "gelu", "silu", "relu")},
    "paper": {"num_seeds": 100, "num_steps": 250, "activations": ("elu", "gelu", "silu", "relu")},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="smooth_mlp.two_layers",
        name="",
        study="theorem",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"width": 72, "activation": "gelu", "init": "orthogonal", "scale": 0.01},
        opt={"step_size": 0.01, "num_steps": size["num_steps"]},
        data={"dimension": 64, "num_classes": 4, "num_samples": 1000},
        observe={"num_times": size["num_steps"] + 1, "spacing": "even"},
        sweep={},
        variants=tuple({"name": name, "net.activation": name} for name in size["activations"]),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
