"""How long to anneal at which eps for the missing entry to be found: Figure 3 of Wang and Jacot 2024.

    python -m experiments.main --config=configs/jumps_epsilon.py[:smoke|cpu|paper]

L = 4, width 100, weights from U(+-1/sqrt(fan_in)). SGD makes t0 steps at Figure 1's high rates, 500 steps of warm-up
included, then 4000 steps with eta = 0.02 and lambda = 0.001. The update is that of configs/jumps_annealing.py. t0 = 0
and 1000 on a grid of eps; longer t0 at the two smallest eps.

Time on two cores: smoke 6 s, paper 15 minutes. cpu has 64 runs, paper 256.
Expect: t0 = 0 succeeds for no run up to eps = 0.5, t0 = 1000 for all from eps = 0.2 on. At eps = 0.1 the fraction that
succeeds grows from 3% (t0 = 1000) to 72% (8000) and 94% (24,000); it is 80% near t0 = 11,500. At eps = 0.05 one run in
64 jumps in 24,000 steps, so that the claim that none ever does (F3.smallest) fails by this run.
"""

from ml_collections import ConfigDict, config_dict

# Name, values of eps, values of t0.
GRIDS = (
    ("grid", (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0), (0, 1000)),
    ("longer", (0.1,), (2000, 4000, 8000, 16_000, 24_000)),
    ("smallest", (0.05,), (8000, 24_000)),
)
SMALL = (("grid", (0.1, 0.7), (0, 100)),)
PROFILES = {
    "smoke": {"num_seeds": 2, "low": 200, "grids": SMALL},
    "cpu": {"num_seeds": 64, "low": 4000, "grids": GRIDS},
    "paper": {"num_seeds": 256, "low": 4000, "grids": GRIDS},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="rank_jumps.sgd",
        name="",
        study="epsilon",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 4, "width": 100, "init": "uniform"},
        data={"epsilon": 0.1},
        opt={"form": "figures", "draws": "with_replacement", "num_steps": size["low"]},
        schedule={
            "phases": ((500, 0.03, 0.1),),
            "tail": (0.2, 0.1),
            "branch": 0,
            "branch_steps": size["low"],
            "branch_step_size": 0.02,
            "branch_weight_decay": 0.001,
        },
        monitor={"put_back": "never", "save_at": 0, "imbalance": False},
        observe={"num_times": 11, "spacing": "even"},
        sweep={},
        variants=tuple(
            {
                "name": name,
                "sweep.data.epsilon": epsilons,
                "sweep.schedule.branch": branches,
                "opt.num_steps": max(branches) + size["low"],
            }
            for name, epsilons, branches in size["grids"]
        ),
        run={"chunk": 0, "batch": 1, "segment": 0, "checkpoint_seconds": 5.0},
    )
