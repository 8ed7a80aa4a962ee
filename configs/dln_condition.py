"""The condition number of the data swept: Section 3 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_condition.py[:smoke|cpu|paper]

The paper expects the law to "approximately hold for any well-conditioned X" and leaves it to future work. Inputs of
Figure 10's size (d_x = 30, d_y = 3, N = 300) are whitened and then scaled, so that X X^T has condition number kappa
from 1 to 100 and eigenvalues of geometric mean 1; at kappa = 1 they are whitened.

Time on two cores: smoke 20 s, paper 8 minutes.
Expect: at kappa = 1 the law is exact. From there on the distance from it grows with kappa in every member: the blocks
and the largest angle of an idle subspace like log kappa at first, 0.2 rad at kappa = 2 and 1 rad at 100; the rank above
2r only like its square, until log kappa reaches the smallest active singular value.
"""

from ml_collections import ConfigDict, config_dict

CONDITIONS = (1.0, 1 + 1e-5, 1 + 1e-4, 1 + 1e-3, 1.01, 1.1, 1.5, 2.0, 4.0, 10.0, 30.0, 100.0)
PROFILES = {
    # the tests run it
    "smoke": {"num_seeds": 2, "num_steps": 100, "num_times": 6, "depths": (3,), "conditions": (1.0, 1.01, 10.0)},
    "cpu": {"num_seeds": 10, "num_steps": 2000, "num_times": 25, "depths": (2, 3), "conditions": CONDITIONS},
    # the paper has no such sweep; this has fifty seeds and a third depth
    "paper": {"num_seeds": 50, "num_steps": 2000, "num_times": 25, "depths": (2, 3, 4), "conditions": CONDITIONS},
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
        # X X^T has eigenvalues up to kappa^(1/2) = 10, and each layer follows the data within 1000 steps
        opt={"step_size": 1 / 3000, "weight_decay": 0.0, "momentum": 0.0, "num_steps": size["num_steps"]},
        data={"source": "conditioned", "rank": 3, "num_samples": 300, "whiten": False, "condition": 1.0},
        observe={"num_times": size["num_times"], "spacing": "log"},
        sweep={"data": {"condition": size["conditions"]}},
        variants=tuple({"name": f"conditioned_L{depth}", "net.depth": depth} for depth in size["depths"]),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
