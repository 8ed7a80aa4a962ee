"""The theory's own parametrization and stopping time: Theorem A.2 and Corollary 2.6 of Laus et al. 2025.

    python -m experiments.main --config=configs/inverse_theorem.py[:smoke|cpu|paper]

ntk, L = 3, s = 4, d = 64, m = 32, kappa = 1, lambda = 0.01, d_w = 64, 128, 256, 512. eta = m / (4 L sigma_max^2) is a
quarter of the largest step allowed, at which eta lambda_max(P(0)) is 2 to 5. T (30b) is 1.0e4 to 1.5e4 steps. Two
hypotheses of the theorem fail here: its cap on lambda and its isometry constant of 1/10. d_w = 128 also runs without
decay.

Time on two cores: smoke 15 s, paper 40 minutes.
Expect: every step of the first phase shrinks the error faster than its bound; the off-subspace error at T is about
proportional to 1/d_w^2.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "widths": (16, 32), "tests": 20, "decay": 0.02},
    "cpu": {"num_seeds": 3, "widths": (64, 128, 256, 512), "tests": 200, "decay": 0.01},
    "paper": {"num_seeds": 10, "widths": (64, 128, 256, 512, 1024), "tests": 1000, "decay": 0.01},
}
# On a CPU members run in turn: side by side, one that has stopped still copies its weights at every step of the others.
BATCH = {"smoke": 0, "cpu": 1, "paper": 0}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    plain = {"name": "no_decay", "net.width": size["widths"][1], "opt.weight_decay": 0.0}
    return config_dict.create(
        experiment="inverse_problems.theorem",
        name="",
        study="theorem",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": 128, "parametrization": "ntk"},
        opt={
            "step_size": 0.25,
            "step_unit": "theorem",
            "weight_decay": size["decay"],
            "rescaling_decay": size["decay"],
            "num_steps": 20_000,
        },
        data={
            "dimension": 64,
            "num_measurements": 32,
            "subspace_dimension": 4,
            "num_samples": 1000 if profile != "smoke" else 40,
            "condition_number": 1.0,
            "num_tests": size["tests"],
            "noise": (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        },
        observe={"num_times": 150, "spacing": "log"},
        sweep={},
        variants=(
            *({"name": f"w{width}", "net.width": width} for width in size["widths"]),
            *(() if profile == "smoke" else (plain,)),
        ),
        run={"chunk": 0, "batch": BATCH[profile], "segment": 0, "checkpoint_seconds": 5.0},
    )
