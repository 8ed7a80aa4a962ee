"""Compressed against narrow networks: Figure 5 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/completion_compressed.py[:smoke|cpu|paper]

A matrix of rank 5 is completed from 20% of its entries, by the compressed network of eq. (11) (a 2r^ x 2r^ core from
eps I between outer factors that move gamma = 0.01 times as fast) and by a narrow network of the same width 2r^, at
several estimates r^ of the rank. Step sizes are for the loss summed over the observed entries.

Time on two cores: smoke 30 s, paper 6 hours. benchmarks/results/wall_time.md has the time of a step of
each network, and to the tolerance, the paper's right panel.
Expect (cpu): the narrow network takes 2.5 to 2.8 times as many steps at r^ = 5 and 1.7 times as many at r^ = 20 (bound
1.5). The compressed network takes 16,500 to 17,000 steps, 0.6% apart over r^ (bound 5%).
"""

from ml_collections import ConfigDict, config_dict

ESTIMATES = (5, 8, 11, 14, 17, 20)
PRINTED = {"rank": 5, "observed": 0.2, "scale": 1e-3, "tolerance": 1e-10, "num_steps": 60_000}
SMALL = {"rank": 2, "observed": 0.5, "scale": 0.1, "tolerance": 1e-6, "num_steps": 2000}
PROFILES = {
    "smoke": {**SMALL, "size": 30, "step_size": 0.03, "num_seeds": 2, "estimates": (2, 4)},
    "cpu": {**PRINTED, "size": 300, "step_size": 0.011, "num_seeds": 3, "estimates": ESTIMATES},
    "paper": {**PRINTED, "size": 1000, "step_size": 0.005, "num_seeds": 5, "estimates": ESTIMATES},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="parsimony.completion",
        name="",
        study="compressed",
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
        observe={"num_times": 13, "spacing": "even"},
        sweep={},
        variants=tuple(
            {"name": f"{kind}_{estimate}", "net.kind": kind, "net.rank": estimate}
            for kind in ("compressed", "narrow")
            for estimate in size["estimates"]
        ),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
