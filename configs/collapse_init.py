"""Progressive collapse from other initial weights: Figure 12 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/collapse_init.py[:smoke|cpu|paper]

Networks of 8 layers from orthogonal, normal and uniform weights of variance eps^2 / d, eps = 0.5. Normal entries are
drawn from N(0, eps^2/d), uniform ones from +-eps sqrt(3/d), where the paper prints +-3 eps/d. Otherwise as Figure 7.

Time on two cores: smoke 30 s.
Expect: linear networks are log-linear with R^2 of 0.999 or more (bound 0.99), and their rates are within 26% of each
other (bound 30%).
"""

from ml_collections import ConfigDict, config_dict

INITS = ("orthogonal", "normal", "uniform")
PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 3000, "activations": ("linear",), "inits": ("orthogonal", "normal")},
    "cpu": {"num_seeds": 5, "num_steps": 40_000, "activations": ("linear", "relu"), "inits": INITS},
    "paper": {"num_seeds": 20, "num_steps": 500_000, "activations": ("linear", "relu"), "inits": INITS},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    tolerances = {"linear": (1e-6, 1e-12), "relu": (1e-6,)}
    return config_dict.create(
        experiment="collapse",
        name="",
        study="init",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 8, "width": 50, "scale": 0.5, "activation": "linear", "init": "orthogonal"},
        opt={"step_size": 0.004, "tolerance": 1e-12, "num_steps": size["num_steps"]},
        data={"source": "orthogonal", "num_classes": 5, "samples_per_class": 10},
        observe={"num_times": 21, "spacing": "log"},
        sweep={},
        variants=tuple(
            {
                "name": f"{activation}_{init}",
                "net.activation": activation,
                "net.init": init,
                "sweep.opt.tolerance": tolerances[activation],
            }
            for activation in size["activations"]
            for init in size["inits"]
        ),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
