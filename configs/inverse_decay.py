"""The amount of weight decay, and n samples as s compressed ones: Figure 4 and Claim 1 of Laus et al. 2025.

    python -m experiments.main --config=configs/inverse_decay.py[:smoke|cpu|paper]

As Figure 3 at L = 3, lambda = 0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2. All run to the step at which lambda = 1e-2 has
x = eta lambda t = 16; in cpu those from 1e-3 on also run to their own x = 8, where the regression error is at rest.
eta = 1.5 / lambda_max(P(0)) by Lanczos: the printed eta = 0.1 diverges within 10 steps at d_w = 1000 (the variant
`printed`). cpu has d_w = 128. The variant `samples` compares 500 steps on all n = 1000 samples with those on s = 4.

Time on two cores: smoke 30 s, paper 30 days. In paper (d_w = 1000), for x = 8 at lambda = 1e-4, each
seed makes 3e6 steps of 6 ms.
Expect: plateaus of 0.99 to 1.05 lambda, within 1e-12 of the scalar minimizers; lambda = 0 keeps its off-subspace error.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "width": 24, "cap": 20_000, "decays": (0.0, 3e-3, 1e-2), "rest": (), "samples": 40},
    "cpu": {"num_seeds": 3, "width": 128, "cap": 800_000, "rest": (1e-3, 3e-3, 1e-2), "samples": 1000},
    "paper": {"num_seeds": 10, "width": 1000, "cap": 20_000_000, "rest": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)},
}
DECAYS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
# On a CPU members run in turn: side by side, one that has stopped still copies its weights at every step of the others.
BATCH = {"smoke": 0, "cpu": 1, "paper": 0}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"decays": DECAYS, "samples": 1000} | PROFILES[profile]
    printed = {
        "name": "printed",
        "study": "printed",
        "net.width": 1000,
        "opt.step_size": 0.1,
        "opt.step_unit": "one",
        "opt.weight_decay": 1e-4,
        "opt.horizon": 0.0,
        "opt.num_steps": 12,
    }
    samples = {
        "name": "samples",
        "study": "compression",
        "opt.weight_decay": 1e-3,
        "opt.horizon": 0.0,
        "opt.num_steps": 500,
        "observe.num_times": 6,
    }
    return config_dict.create(
        experiment="inverse_problems.decay",
        name="",
        study="decay",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": size["width"], "parametrization": "fan_in"},
        opt={
            "step_size": 1.5,
            "step_unit": "curvature",
            "weight_decay": 1e-2,
            "horizon": 8.0,
            "rescaling_decay": 0.0,
            "num_steps": size["cap"],
        },
        data={
            "dimension": 64,
            "num_measurements": 32,
            "subspace_dimension": 4,
            "num_samples": size["samples"],
            "condition_number": 1.0,
        },
        observe={"num_times": 200, "spacing": "log"},
        sweep={},
        variants=(
            {
                "name": "common",
                "opt.horizon": 16.0,
                "opt.rescaling_decay": 1e-2,
                "sweep.opt.weight_decay": size["decays"],
            },
            *({"name": "rest", "sweep.opt.weight_decay": decays} for decays in [size["rest"]] if decays),
            *(() if profile == "smoke" else (printed,)),
            samples,
        ),
        run={"chunk": 0, "batch": BATCH[profile], "segment": 0, "checkpoint_seconds": 5.0},
    )
