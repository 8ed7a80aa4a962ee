"""Noise robustness on handwritten digits in their principal subspace: no figure of Laus et al. 2025.

    python -m experiments.main --config=configs/inverse_digits.py[:smoke|cpu|paper]

1500 digits of 8 x 8 pixels are projected on the span of their s = 8 leading principal components (not centred), so
that the model X = R Z holds, and scaled to sigma_max(X) = 1; m = 32, L = 3. The other 297 digits are the tests, in the
same span, at norm 1, with noise. Unlike the paper's signals X has a condition number of 7, so that weight decay costs
the small components more: lambda = 0, 1e-4, 1e-3, 1e-2. eta = 1.5 / lambda_max(P(0)) by Lanczos.

Time on two cores: smoke 15 s, paper 10 hours.
Expect: a test error of more than twice the oracle map's without decay, and close to the oracle map's from
lambda = 1e-3 on.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "width": 24, "num_steps": 300, "tests": 20, "decays": (0.0, 1e-2)},
    "cpu": {"num_seeds": 3, "width": 128, "num_steps": 30_000, "tests": 297, "decays": (0.0, 1e-4, 1e-3, 1e-2)},
    "paper": {"num_seeds": 10, "width": 512, "num_steps": 300_000, "tests": 297, "decays": (0.0, 1e-4, 1e-3, 1e-2)},
}
# On a CPU members run in turn: side by side, one that has stopped still copies its weights at every step of the others.
BATCH = {"smoke": 0, "cpu": 1, "paper": 0}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="inverse_problems.robustness",
        name="",
        study="digits",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": size["width"], "parametrization": "fan_in"},
        opt={"step_size": 1.5, "step_unit": "curvature", "weight_decay": 1e-2, "num_steps": size["num_steps"]},
        data={
            "dimension": 64,
            "num_measurements": 32,
            "subspace_dimension": 8,
            "num_subspaces": 1,
            "num_samples": 1500,
            "condition_number": 1.0,
            "num_tests": size["tests"],
            "noise": (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        },
        observe={"num_times": 60, "spacing": "log"},
        sweep={"opt": {"weight_decay": size["decays"]}},
        variants=({},),
        run={"chunk": 0, "batch": BATCH[profile], "segment": 0, "checkpoint_seconds": 5.0},
    )
