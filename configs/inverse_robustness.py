"""Weight decay makes a linear network robust to noise: Figure 1a of Laus et al. 2025.

    python -m experiments.main --config=configs/inverse_robustness.py[:smoke|cpu|paper]

d = 200, m = 100, s = 5, L = 5, lambda = 0, 0.001, 0.01, 0.03; noise sigma in every measurement, test signals of norm 1.
cpu has d_w = 128 and eta = 1e-2 for 1e4 steps, the time eta t of the paper's eta = 1e-3 for 1e5 steps; paper has 400
and the paper's eta. n = 1000: the paper does not give it, and no trajectory depends on it.

Time on two cores: smoke 15 s, paper 5 hours.
Expect: test error sigma sqrt(d (m-s)/m) = 13.8 sigma without decay (within 5%), and 1.06 times that of the oracle map
with lambda = 0.01.
"""

from ml_collections import ConfigDict, config_dict

SIZES = {"dimension": 200, "num_measurements": 100, "subspace_dimension": 5, "num_samples": 1000, "depth": 5}
SMALL = {"dimension": 24, "num_measurements": 16, "subspace_dimension": 2, "num_samples": 40, "depth": 3}
PROFILES = {
    "smoke": {"num_seeds": 2, "width": 24, "num_steps": 300, "step_size": 1e-2, "tests": 20, "sizes": SMALL},
    "cpu": {"num_seeds": 3, "width": 128, "num_steps": 10_000, "step_size": 1e-2, "tests": 200},
    "paper": {"num_seeds": 10, "width": 400, "num_steps": 100_000, "step_size": 1e-3, "tests": 1000},
}
# On a CPU members run in turn: side by side, one that has stopped still copies its weights at every step of the others.
BATCH = {"smoke": 0, "cpu": 1, "paper": 0}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"sizes": SIZES} | PROFILES[profile]
    sizes = dict(size["sizes"])
    return config_dict.create(
        experiment="inverse_problems.robustness",
        name="",
        study="robustness",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": sizes.pop("depth"), "width": size["width"], "parametrization": "fan_in"},
        opt={"step_size": size["step_size"], "step_unit": "one", "weight_decay": 1e-2, "num_steps": size["num_steps"]},
        data={
            **sizes,
            "num_subspaces": 1,
            "condition_number": 1.0,
            "num_tests": size["tests"],
            "noise": (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        },
        observe={"num_times": 60, "spacing": "log"},
        sweep={"opt": {"weight_decay": (0.0, 1e-3, 1e-2, 3e-2)}},
        variants=({},),
        run={"chunk": 0, "batch": BATCH[profile], "segment": 0, "checkpoint_seconds": 5.0},
    )
