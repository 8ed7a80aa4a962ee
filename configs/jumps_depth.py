"""At eps = 0.1 four layers jump in time, and three rarely do: Figure 2 of Wang and Jacot 2024.

    python -m experiments.main --config=configs/jumps_depth.py[:smoke|cpu|paper]

L = 3 and L = 4, width 100, weights from U(+-1/sqrt(fan_in)). lambda = 0.1 with eta = 0.03 for 500 steps and eta = 0.25
up to step 5000, then eta = 0.05 and lambda = 0.001 up to step 15,000. The update is that of configs/jumps_annealing.py.

Time on two cores: smoke 10 s, paper 10 minutes. cpu has 64 runs of each depth, paper 1024.
Expect: by step 5000 none of the runs with L = 3 and nine in ten with L = 4 have jumped.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "high": 200, "num_steps": 900},
    "cpu": {"num_seeds": 64, "high": 4500, "num_steps": 15_000},
    "paper": {"num_seeds": 1024, "high": 4500, "num_steps": 15_000},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="rank_jumps.sgd",
        name="",
        study="depth",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": 100, "init": "uniform"},
        data={"epsilon": 0.1},
        opt={"form": "figures", "draws": "with_replacement", "num_steps": size["num_steps"]},
        schedule={
            "phases": ((500, 0.03, 0.1), (size["high"], 0.25, 0.1)),
            "tail": (0.05, 0.001),
            "branch": size["num_steps"],
            "branch_steps": 0,
            "branch_step_size": 0.0,
            "branch_weight_decay": 0.0,
        },
        monitor={"put_back": "never", "save_at": 0, "imbalance": False},
        observe={"num_times": 151, "spacing": "even"},
        sweep={},
        variants=({"net.depth": 3}, {"net.depth": 4}),
        run={"chunk": 0, "batch": 1, "segment": 0, "checkpoint_seconds": 5.0},
    )
