"""Without whitening, on Gaussian data and handwritten digits: Figure 10 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_unwhitened.py[:smoke|cpu|paper]

Gaussian inputs and outputs (d_x = 30, d_y = 3, N = 300), eps = 1, L = 3, step size 1/900, 10000 steps; and the 1797
digits of scikit-learn as they are (64 pixels in [0, 1], 10 classes). Here the law is only approximate.

Time on two cores: smoke 20 s.
Expect: 21 of 30 singular values are within 1e-3 of 1 at the end (claimed: 20). The largest angle of an idle subspace
is 0.3 to 1.6 rad, which refutes the paper's "the corresponding singular subspaces evolve very little". Of the 24 angles
of an idle subspace 18 are 0 by dimension alone. The counts of the digits are in the summary, without a claim.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    # the tests run it; too short for the claims to be judged
    "smoke": {"num_seeds": 2, "num_steps": 500, "num_times": 8},
    "cpu": {"num_seeds": 10, "num_steps": 10_000, "num_times": 61},
    # the paper's own size with a hundred seeds
    "paper": {"num_seeds": 100, "num_steps": 10_000, "num_times": 61},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    digits = {
        "name": "digits_L3",
        "data.source": "digits",
        "data.rank": 10,
        "net.width": 64,
        # 0.37 / sigma_1(X)^2: the mean image alone has 69% of the digits' energy and limits the step
        "opt.step_size": 2e-5,
    }
    return config_dict.create(
        experiment="parsimony.theorem",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": 30, "scale": 1.0},
        opt={"step_size": 1 / 900, "weight_decay": 0.0, "momentum": 0.0, "num_steps": size["num_steps"]},
        data={"source": "gaussian", "rank": 3, "num_samples": 300, "whiten": False},
        observe={"num_times": size["num_times"], "spacing": "log"},
        sweep={},
        variants=({"name": "gaussian_L3"}, digits),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
