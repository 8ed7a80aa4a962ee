"""The law of parsimony with momentum: Figure 9 and eq. (16) of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_momentum.py[:smoke|cpu|paper]

Figure 3's setting (d = 30, rank 3, L = 3, eps = 1, step size 1/900, 50 steps) under Polyak's momentum 0.9, 0.5 and 0.
The paper leaves the proof to future work. The recursion rho+ = (1 - eta lambda) rho - eta rho^{2L-1} + mu (rho - rho-)
with rho(-1) = rho(0) holds up to floating-point error.

Time on two cores: smoke 15 s.
Expect: every deviation is below 1e-13 (bound 1e-12), exactly six singular values move, and the idle subspaces turn by
less than 2e-12 rad (bound 1e-9).
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    # the tests run it
    "smoke": {"num_seeds": 2, "num_times": 11},
    "cpu": {"num_seeds": 10, "num_times": 51},
    # the paper's own size with a hundred seeds
    "paper": {"num_seeds": 100, "num_times": 51},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="parsimony.theorem",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": 30, "scale": 1.0},
        opt={"step_size": 1 / 900, "weight_decay": 0.0, "momentum": 0.9, "num_steps": 50},
        data={"source": "low_rank", "rank": 3, "num_samples": 300, "whiten": True},
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={"opt": {"momentum": (0.9, 0.5, 0.0)}},
        variants=({"name": "momentum_L3"},),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
