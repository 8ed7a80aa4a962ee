"""How many columns a low-rank head of VGG-16 needs, on CIFAR-10: Figure 15 of Xu et al. 2026.

    python -m experiments.main --config=configs/vgg16_rank.py[:smoke|cpu|paper]

The head alone is trained, as in vgg16_cifar10, with r = 2K, 4K, 8K and 16K. The first 2K columns of V~ are S_big, the
others lie in its complement. S_big is that of the gradient of one batch of 128 images, as in the paper, and of all.
The full head runs in one seed, which is the first seed of the others too.

Time on two cores: smoke 1 minute, paper 3 days. cpu takes 6 to 10 minutes more, once, for the features.
Expect (SiLU) median test accuracies of 0.695 (r = 2K) to 0.699 (16K) with S_big of all images, 0.663 to 0.690 with that
of one batch, and 0.710 of the full head. GELU ends within 0.01 of them.
"""

from ml_collections import ConfigDict, config_dict

K = 10
PROFILES = {
    "smoke": {
        "num_seeds": 1,
        "epochs": 1,
        "width": 128,
        "batch": 50,
        "ranks": (2 * K, 4 * K),
        "activations": ("silu",),
        "pretrained": "edges",
        "data": {"num_train": 200, "num_test": 100, "num_probe": 100, "eval_batch": 50, "size": 32, "block": 4},
    },
    "cpu": {
        "num_seeds": 3,
        "epochs": 35,
        "pretrained": "edges",
        "data": {"num_train": 10_000, "num_test": 2000, "num_probe": 1000, "eval_batch": 500, "size": 96, "block": 4},
    },
    "paper": {
        "num_seeds": 5,
        "epochs": 250,
        "pretrained": "imagenet",
        "data": {
            "num_train": 50_000,
            "num_test": 10_000,
            "num_probe": 2000,
            "eval_batch": 400,
            "size": 224,
            "block": 5,
        },
    },
}
SIZE = {"width": 4096, "batch": 128, "ranks": (2 * K, 4 * K, 8 * K, 16 * K), "activations": ("silu", "gelu")}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = SIZE | PROFILES[profile]
    images = {"all": 0, "batch": size["batch"]}
    full = [{"name": f"{name}_full", "net.activation": name, "num_seeds": 1} for name in size["activations"]]
    s_big = [
        {
            "name": f"{name}_{source}_r{r}",
            "net.activation": name,
            "net.form": "s_big",
            "net.rank": r,
            "data.gradient_images": count,
        }
        for name in size["activations"]
        for source, count in images.items()
        for r in size["ranks"]
    ]
    return config_dict.create(
        experiment="smooth_mlp.vgg_heads",
        name="",
        study="rank",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float32",
        net={
            "form": "full",
            "inner": "drawn",
            "orthonormal": False,
            "activation": "silu",
            "depth": 3,
            "width": size["width"],
            "rank": 2 * K,
            "scale": 0.1,
        },
        opt={
            "trains": "head",
            "step_size": 5e-3,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "batch_size": size["batch"],
            "num_steps": size["epochs"],
        },
        data={
            "name": "cifar10",
            "folder": "",
            "weights": "",
            "pretrained": size["pretrained"],
            "pool": 3,
            "gradient_images": 0,
            **size["data"],
        },
        observe={"num_times": size["epochs"] + 1, "spacing": "even"},
        sweep={},
        variants=tuple(s_big + full),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 60.0, "sample_devices": 1},
    )
