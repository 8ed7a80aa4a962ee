"""The law of parsimony on real images, Fashion-MNIST: Theorem 1, Case 2 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_fashion_mnist.py[:smoke|cpu|paper]

Gradient descent on deep linear networks with 10 outputs, from an orthogonal initialization, on pixels whitened to
X X^T = I: images averaged over squares of 2 x 2 (196 pixels) at depths 2 and 3, and as they are (784 pixels). Weight
decay is 0 and 0.1, momentum 0 and 0.9.

Time on two cores: smoke 30 s, paper 45 minutes.
Expect: every deviation is below 1e-13 relative to sigma_1 (bound 1e-12), exactly 20 singular values move, and the idle
subspaces turn by less than 1e-12 rad.
"""

from ml_collections import ConfigDict, config_dict

# Step sizes are 0.5 / (L sigma_1^{2-2/L}) with the sigma_1 of Phi = Y X^T of the images in use, for L = 2 and 3.
PROFILES = {
    "smoke": {"num_seeds": 1, "num_steps": 4, "num_times": 3, "num_samples": 1000},
    "cpu": {"num_seeds": 3, "num_steps": 200, "num_times": 21, "num_samples": 10_000},
    "paper": {"num_seeds": 10, "num_steps": 200, "num_times": 51, "num_samples": 60_000},
}
STEP_SIZES = {1000: (0.0248, 0.00765), 10_000: (0.00809, 0.00172), 60_000: (0.00331, 0.000523)}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    steps = dict(zip((2, 3), STEP_SIZES[size["num_samples"]], strict=True))
    pooled = tuple(
        {"name": f"pooled_L{depth}", "net.depth": depth, "opt.step_size": step} for depth, step in steps.items()
    )
    # On a CPU an SVD of 784 x 784 takes as long as sixty of 196 x 196: one seed, and fewer times.
    lean = {"num_seeds": 1, "observe.num_times": 6} if profile == "cpu" else {}
    pixels = {"data.pool": 1, "net.width": 784, "opt.step_size": steps[2], "name": "pixels_L2", **lean}
    return config_dict.create(
        experiment="parsimony.theorem",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 2, "width": 196, "scale": 1.0},
        opt={"step_size": steps[2], "weight_decay": 0.0, "momentum": 0.0, "num_steps": size["num_steps"]},
        data={
            "source": "fashion_mnist",
            "folder": "",
            "pool": 2,
            "rank": 10,
            "num_samples": size["num_samples"],
            "whiten": True,
        },
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={"opt": {"weight_decay": (0.0, 0.1), "momentum": (0.0, 0.9)}},
        variants=pooled if profile == "smoke" else (*pooled, pixels),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 30.0},
    )
