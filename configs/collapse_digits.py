"""Progressive collapse on handwritten digits: no figure of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/collapse_digits.py[:smoke|cpu|paper]

Linear and ReLU networks of 4 and 6 layers on the first 100 images of every digit of scikit-learn, PCA-whitened to
d = 50 dimensions (X X^T = I), from eps-orthogonal weights, eps = 0.5, for a fixed number of steps. No theorem of the
paper covers these data.

Time on two cores: smoke 30 s, paper 2 hours.
Expect: a summary and no claims. A linear network cannot fit the labels: its training accuracy is 0.96, and its
separation ends at 0.06 of its start at both depths, where one layer lowers it by no more than 13% (4 layers) or 3%
(6 layers). ReLU networks fit them, and each of their layers lowers D_l to less than half.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 50, "samples": 10, "cases": (("linear", 4),)},
    "cpu": {"num_seeds": 3, "num_steps": 3000, "samples": 100},
    "paper": {"num_seeds": 10, "num_steps": 20_000, "samples": 174},
}
EVERY_CASE = tuple((activation, depth) for activation in ("linear", "relu") for depth in (4, 6))


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"cases": EVERY_CASE} | PROFILES[profile]
    n = size["samples"]
    return config_dict.create(
        experiment="collapse",
        name="",
        study="digits",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 4, "width": 50, "scale": 0.5, "activation": "linear", "init": "orthogonal"},
        opt={"step_size": 0.004, "tolerance": 0.0, "num_steps": size["num_steps"]},
        data={"source": "digits", "num_classes": 10, "samples_per_class": n},
        observe={"num_times": 21, "spacing": "log"},
        sweep={},
        variants=tuple(
            {
                "name": f"{activation}_L{depth}",
                "net.activation": activation,
                "net.depth": depth,
                # 0.5 / (L sigma_1^{2-2/L}): sigma_1 of Phi = Y X^T is at most that of Y, sqrt(n).
                "opt.step_size": 0.5 / (depth * n ** (1 - 1 / depth)),
            }
            for activation, depth in size["cases"]
        ),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
