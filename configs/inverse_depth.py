"""Depth and the two errors of a deep linear network with weight decay: Figure 3 of Laus et al. 2025.

    python -m experiments.main --config=configs/inverse_depth.py[:smoke|cpu|paper]

d = 64, m = 32, s = 4, n = 1000 samples, kappa = 1, L = 2, 3, 4, 5. The paper prints eta = 0.1 and d_w = 1000 for every
depth. With these, L = 3, 4, 5 diverge within 10 steps; for L = 2 eta lambda_max(P(0)) is 4 to 5, and two draws of three
diverge (the variants `printed`). So eta = 1.5 / lambda_max(P(0)) here, by Lanczos, and time is x = eta lambda t.
lambda = 1e-4 runs up to x = 0.5, where depth helps. A second run goes to x = 8, where the regression error is at rest:
in cpu at lambda = 1e-3, and at 1e-2 for the two deepest, which cost most. cpu has d_w = 128.

Time on two cores: smoke 15 s, paper 30 days. In paper (d_w = 1000, lambda = 1e-4 to x = 8) each of 40
members makes 1e7 steps of 6 ms.
Expect: plateaus of 0.99 to 1.08 lambda, 1e-12 from the scalar minimizers. Off-subspace errors are ordered L = 5, 3, 2
over x = 0.1 to 0.5 but for 1% in the worst member, by which the claim fails.
"""

from ml_collections import ConfigDict, config_dict

REST = {2: 1e-3, 3: 1e-3, 4: 1e-2, 5: 1e-2}
PROFILES = {
    "smoke": {"num_seeds": 2, "width": 24, "depths": (2, 3), "cap": 3000, "early": {2: 1e-3, 3: 1e-3}, "rest": {}},
    "cpu": {"num_seeds": 3, "width": 128, "cap": 800_000, "rest": REST},
    "paper": {"num_seeds": 10, "width": 1000, "cap": 20_000_000, "rest": dict.fromkeys(REST, 1e-4)},
}
# On a CPU members run in turn: side by side, one that has stopped still copies its weights at every step of the others.
BATCH = {"smoke": 0, "cpu": 1, "paper": 0}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"depths": (2, 3, 4, 5), "early": dict.fromkeys(REST, 1e-4)} | PROFILES[profile]
    printed = () if profile == "smoke" else size["depths"]
    return config_dict.create(
        experiment="inverse_problems.decay",
        name="",
        study="depth",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": size["width"], "parametrization": "fan_in"},
        opt={
            "step_size": 1.5,
            "step_unit": "curvature",
            "weight_decay": 1e-4,
            "horizon": 0.5,
            "rescaling_decay": 0.0,
            "num_steps": size["cap"],
        },
        data={
            "dimension": 64,
            "num_measurements": 32,
            "subspace_dimension": 4,
            "num_samples": 1000,
            "condition_number": 1.0,
        },
        observe={"num_times": 200, "spacing": "log"},
        sweep={},
        variants=(
            *(_variant(depth, "early", size["early"], 0.5) for depth in size["depths"]),
            *(_variant(depth, "rest", size["rest"], 8.0) for depth in size["depths"] if size["rest"]),
            *(_printed(depth) for depth in printed),
        ),
        run={"chunk": 0, "batch": BATCH[profile], "segment": 0, "checkpoint_seconds": 5.0},
    )


def _variant(depth: int, name: str, decays: dict[int, float], horizon: float) -> dict:
    return {
        "name": f"L{depth}_{name}",
        "net.depth": depth,
        "opt.weight_decay": decays[depth],
        "opt.horizon": horizon,
    }


def _printed(depth: int) -> dict:
    """The step size and the width that the paper prints, for ten steps."""
    return {
        "name": f"L{depth}_printed",
        "study": "printed",
        "net.depth": depth,
        "net.width": 1000,
        "opt.step_size": 0.1,
        "opt.step_unit": "one",
        "opt.horizon": 0.0,
        "opt.num_steps": 12,
    }
