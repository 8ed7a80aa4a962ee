"""With periodic rates all jumps happen in the periods of large eta and lambda: Figure 4 of Wang and Jacot 2024.

    python -m experiments.main --config=configs/jumps_periodic.py[:smoke|cpu|paper]

L = 3, width 100, eps = 0.2, weights from U(+-1/sqrt(fan_in)). A warm-up of 500 steps with eta = 0.03, lambda = 0.1 is
followed by periods of 5000 steps that alternate between (eta, lambda) = (0.4, 0.1) and (0.1, 0.001). The high period
comes first: after a low one the switch makes SGD diverge. The update is that of configs/jumps_annealing.py.

Time on two cores: smoke 6 s, paper 10 minutes. cpu has 64 runs, paper 1024 and four cycles.
Expect: all jumps happen in high periods, nearly all in the first. The relative test error at the end is 0.007 to 0.011.
At the switch to the second high period about one run in 64 diverges. One in 64 jumps from rank 1 to A = 0, where its
error is 1: the claim on the error at the end (F4.error) fails by this run.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "period": 100, "cycles": 2},
    "cpu": {"num_seeds": 64, "period": 5000, "cycles": 2},
    "paper": {"num_seeds": 1024, "period": 5000, "cycles": 4},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="rank_jumps.sgd",
        name="",
        study="periodic",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": 100, "init": "uniform"},
        data={"epsilon": 0.2},
        opt={"form": "figures", "draws": "with_replacement", "num_steps": 500 + 2 * size["period"] * size["cycles"]},
        schedule={
            "phases": ((500, 0.03, 0.1), *((size["period"], 0.4, 0.1), (size["period"], 0.1, 0.001)) * size["cycles"]),
            "tail": (0.1, 0.001),
            "branch": 500 + 2 * size["period"] * size["cycles"],
            "branch_steps": 0,
            "branch_step_size": 0.0,
            "branch_weight_decay": 0.0,
        },
        monitor={"put_back": "never", "save_at": 0, "imbalance": False},
        observe={"num_times": 206, "spacing": "even"},
        sweep={},
        variants=({},),
        run={"chunk": 0, "batch": 1, "segment": 0, "checkpoint_seconds": 5.0},
    )
