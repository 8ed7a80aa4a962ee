"""How fast the outer factors of a compressed network may move: Figure 6 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/completion_gamma.py[:smoke|cpu|paper]

A matrix of rank 5 is completed from 20% of its entries by a square network of depth 3 and by its compressed networks,
whose outer factors move gamma = 0.01, 0 and 1 times as fast as the core. All start from the same draw of weights. Step
sizes are for the loss summed over the observed entries.

Time on two cores: smoke 30 s, paper 13 hours. Half of cpu's time is for the square network with one seed, and 12
of paper's 13 hours are for the square networks.
Expect (cpu): the recovery error is 2e-9 at gamma = 0.01 (bound 1e-6) and 3e6 times as large at gamma = 0 (bound 1e4).
At gamma = 1 the network diverges in every seed. The compressed network (gamma = 0.01) ends with 0.92 times the recovery
error of the original one, after 1.06 times as many steps.
"""

from ml_collections import ConfigDict, config_dict

PRINTED = {"rank": 5, "observed": 0.2, "scale": 1e-3, "tolerance": 1e-10}
SMALL = {"rank": 2, "observed": 0.5, "scale": 0.1, "tolerance": 1e-6, "num_steps": 2000, "num_times": 51}
MIDDLE = {**PRINTED, "size": 300, "step_size": 0.011, "num_steps": 20_000, "num_times": 401}
LARGE = {**PRINTED, "size": 1000, "step_size": 0.005, "num_steps": 60_000, "num_times": 601}
PROFILES = {
    "smoke": {**SMALL, "size": 30, "step_size": 0.03, "num_seeds": 2, "full_seeds": 1},
    "cpu": {**MIDDLE, "num_seeds": 3, "full_seeds": 1},
    "paper": {**LARGE, "num_seeds": 5, "full_seeds": 5},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="parsimony.completion",
        name="",
        study="gamma",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"kind": "compressed", "depth": 3, "width": size["size"], "rank": size["rank"], "scale": size["scale"]},
        opt={
            "step_size": size["step_size"],
            "discrepancy": 0.01,
            "tolerance": size["tolerance"],
            "num_steps": size["num_steps"],
        },
        data={"size": size["size"], "rank": size["rank"], "observed": size["observed"]},
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={},
        variants=(
            {"name": "full", "net.kind": "full", "num_seeds": size["full_seeds"]},
            {"name": "compressed", "sweep.opt.discrepancy": (0.01, 0.0, 1.0)},
        ),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
