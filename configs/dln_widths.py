"""Layers of any widths: Assumption 1 relaxed, Section 3 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_widths.py[:smoke|cpu|paper]

The paper expects "very similar results" where the widths do not fall. Here layers narrow, widen, or do both, with
targets of rank 3 and as many outputs as inputs, others, or 3. Weight decay is 0 and 0.1, momentum 0 and 0.9.

Time on two cores: smoke 30 s, paper 10 minutes.
Expect: a direction that a layer adds or cuts off has a singular value of its own, eq. 7, and the target adds 3 active
directions for each place where that happens: 6, 9 and 3 move in the layers of 30-36-40-3, where 2r is 6. Counts are
exact, and every deviation is below 1e-12.
"""

from ml_collections import ConfigDict, config_dict

WIDTHS = {
    "square": (30, 30, 30, 30),
    "widening_case2": (30, 36, 40, 3),
    "widening": (20, 24, 30, 36),
    "narrowing": (36, 30, 24, 20),
    "narrowing_case2": (40, 36, 30, 3),
    "bottleneck": (30, 16, 16, 30),
    "hourglass": (30, 20, 24, 30),
    "barrel": (24, 26, 26, 24),
}
PROFILES = {
    # nearly all of its time is compilation; the tests run it
    "smoke": {"num_seeds": 2, "num_steps": 40, "num_times": 5, "names": ("widening_case2", "barrel")},
    "cpu": {"num_seeds": 10, "num_steps": 200, "num_times": 26, "names": tuple(WIDTHS)},
    # the paper has no such network; this has a hundred seeds
    "paper": {"num_seeds": 100, "num_steps": 200, "num_times": 26, "names": tuple(WIDTHS)},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="parsimony.widths",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"widths": WIDTHS["widening_case2"], "scale": 1.0},
        opt={"step_size": 1 / 200, "weight_decay": 0.0, "momentum": 0.0, "num_steps": size["num_steps"]},
        data={"rank": 3},
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={"opt": {"weight_decay": (0.0, 0.1), "momentum": (0.0, 0.9)}},
        variants=tuple({"name": name, "net.widths": WIDTHS[name]} for name in size["names"]),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
