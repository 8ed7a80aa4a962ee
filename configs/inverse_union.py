"""Weight decay makes a ReLU network on a union of subspaces robust to noise: Figure 1b of Laus et al. 2025.

    python -m experiments.main --config=configs/inverse_union.py[:smoke|cpu|paper]

As Figure 1a, with three subspaces of s = 5 and the network W_L relu(W_{L-1} ... W_1 x) (eq. 90), L = 5. The paper does
not give n; n = 300 here. Relative noise 1 is sigma = 1/sqrt(m) in every measurement. Four layers act on 15 columns, the
last on 300.

Time on two cores: smoke 15 s, paper 24 hours.
Expect: at relative noise 1, an error without decay of 2.2 times that with lambda = 0.01 (bound 1.3).
"""

from ml_collections import ConfigDict, config_dict

SIZES = {"dimension": 200, "num_measurements": 100, "subspace_dimension": 5, "num_samples": 300, "depth": 5}
SMALL = {"dimension": 24, "num_measurements": 16, "subspace_dimension": 2, "num_samples": 40, "depth": 3}
PROFILES = {
    "smoke": {"num_seeds": 2, "width": 24, "num_steps": 100, "step_size": 1e-2, "tests": 20, "sizes": SMALL},
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
        study="union",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": sizes.pop("depth"), "width": size["width"], "parametrization": "fan_in"},
        opt={"step_size": size["step_size"], "step_unit": "one", "weight_decay": 1e-2, "num_steps": size["num_steps"]},
        data={
            **sizes,
            "num_subspaces": 3,
            "condition_number": 1.0,
            "num_tests": size["tests"],
            "noise": (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        },
        observe={"num_times": 16, "spacing": "log"},
        sweep={"opt": {"weight_decay": (0.0, 1e-3, 1e-2)}},
        variants=({},),
        run={"chunk": 0, "batch": BATCH[profile], "segment": 0, "checkpoint_seconds": 5.0},
    )
