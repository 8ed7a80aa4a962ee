"""The law of parsimony: Theorem 1 and Figures 3 and 8 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_parsimony.py[:smoke|cpu|paper]

Gradient descent on deep linear networks from an orthogonal initialization: Case 1 (a d x d target of rank 3) and Case 2
(3 outputs, whitened Gaussian data) at depths 2 to 4, Case 1 also in float32, and Case 2 on the handwritten digits of
scikit-learn, whitened to their rank 61. Weight decay is 0 and 0.1, momentum 0 and 0.9, with ten seeds of each.

Time on two cores: smoke 30 s.
Expect: every deviation from the law is below 1e-13 in float64 (bound 1e-12) and below 2e-5 in float32 (bound 2e-4).
Exactly 2r singular values move, and the idle subspaces turn by less than 1e-11 rad (in the profile paper 8e-10, bound
1e-9). The paper shows one seed without weight decay; the figures here show seed 0.
"""

from ml_collections import ConfigDict, config_dict

EVERY_CASE = tuple((case, depth) for case in (1, 2) for depth in (2, 3, 4))
PROFILES = {
    # nearly all of its time is compilation; the tests run it
    "smoke": {"num_seeds": 2, "num_steps": 20, "num_times": 6, "cases": ((1, 3), (2, 2))},
    "cpu": {"num_seeds": 10, "num_steps": 50, "num_times": 51, "cases": EVERY_CASE},
    # the paper's own size is the cpu profile's; this has a hundred seeds
    "paper": {"num_seeds": 100, "num_steps": 50, "num_times": 51, "cases": EVERY_CASE},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    sources = {1: "low_rank", 2: "gaussian"}
    cases = tuple(
        {"name": f"case{case}_L{depth}", "net.depth": depth, "data.source": sources[case]}
        for case, depth in size["cases"]
    )
    single = {"name": "case1_L3_float32", "net.depth": 3, "data.source": "low_rank", "precision": "float32"}
    digits = {
        "name": "digits_L3",
        "data.source": "digits",
        "data.rank": 10,
        "net.depth": 3,
        "net.width": 61,
        # 0.5 / (L sigma_1^{2-2/L}) with sigma_1 = 13.343 of the digits' Phi
        "opt.step_size": 0.005266,
        "opt.num_steps": 4 * size["num_steps"],
    }
    return config_dict.create(
        experiment="parsimony.theorem",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": 30, "scale": 1.0},
        opt={"step_size": 1 / 900, "weight_decay": 0.0, "momentum": 0.0, "num_steps": size["num_steps"]},
        data={"source": "low_rank", "rank": 3, "num_samples": 300, "whiten": True},
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={"opt": {"weight_decay": (0.0, 0.1), "momentum": (0.0, 0.9)}},
        variants=(*cases, single, digits),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
