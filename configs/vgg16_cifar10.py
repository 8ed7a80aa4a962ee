"""A low-rank head of VGG-16 in S_big, against the full one and a random one, on CIFAR-10: Figure 7 of Xu et al. 2026.

    python -m experiments.main --config=configs/vgg16_cifar10.py[:smoke|cpu|paper]

The head 4608-4096-4096-10 takes the convolutions' last maps, averaged to 3 x 3. SGD with momentum 0.9, weight decay
5e-4 and batches of 128 starts with a step size of 5e-3, which falls along a cosine. r = 2K = 20; S_big is that of the
gradient of one batch of 128 images, of a thousand, and of all. A step of this config is an epoch.

`cpu` trains the head alone, on features of 10,000 images at 96 x 96 from frozen convolutions, and tests on all 10,000
test images. It trains the whole network in a size that two cores allow, far below the figure's: 480 images at 32 x 32,
240 steps, one seed, the last block of convolutions left out. `paper` has 50,000 images at 224 x 224 and 250 epochs for
both. It needs ImageNet weights and a GPU: some 20 GiB and, at 30 TFLOP/s, eleven hours for a seed of the whole
network (benchmarks/paper_sizes.py: estimated, not run).

Time on two cores: smoke 1 minute, paper needs a GPU. cpu takes 15 minutes more, once, for the features.
"""

from ml_collections import ConfigDict, config_dict

WHOLE = tuple(f"{name}_{form}" for name in ("silu", "gelu") for form in ("full", "s_big_batch", "random"))
PROFILES = {
    "smoke": {
        "num_seeds": 1,
        "epochs": 1,
        "width": 128,
        "batch": 40,
        "many": 60,
        "activations": ("silu",),
        "whole": ("silu_full",),
        "pretrained": "edges",
        "data": {"num_train": 200, "num_test": 100, "num_probe": 100, "eval_batch": 20, "size": 32, "block": 4},
    },
    "cpu": {
        "num_seeds": 3,
        "epochs": 35,
        "width": 4096,
        "batch": 128,
        "many": 1000,
        "activations": ("silu", "gelu"),
        "whole": WHOLE,
        "pretrained": "edges",
        "data": {"num_train": 10_000, "num_test": 10_000, "num_probe": 1000, "eval_batch": 500, "size": 96, "block": 4},
    },
    "paper": {
        "num_seeds": 5,
        "epochs": 250,
        "width": 4096,
        "batch": 128,
        "many": 2000,
        "activations": ("silu", "gelu"),
        "whole": WHOLE,
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
# The whole network on a CPU: small, only to show that it runs, learns, and starts in one subspace or another.
SMALL = {
    "num_seeds": 1,
    "opt.num_steps": 8,
    "opt.batch_size": 16,
    "data.gradient_images": 16,
    "data.num_train": 480,
    "data.num_test": 160,
    "data.num_probe": 160,
    "data.eval_batch": 32,
    "data.size": 32,
    "data.block": 4,
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    forms = {
        "full": {"net.form": "full"},
        "s_big": {"net.form": "s_big"},
        "s_big_many": {"net.form": "s_big", "data.gradient_images": size["many"]},
        "s_big_batch": {"net.form": "s_big", "data.gradient_images": size["batch"]},
        "random": {"net.form": "random"},
    }
    heads = {
        f"{name}_{form}": {"net.activation": name, **fields}
        for name in size["activations"]
        for form, fields in forms.items()
    }
    small = {"cpu": SMALL, "smoke": {}, "paper": {"data.eval_batch": 16, "run.batch": 1}}[profile]
    whole = {f"{name}_whole": heads[name] | {"opt.trains": "all"} | small for name in size["whole"]}
    return config_dict.create(
        experiment="smooth_mlp.vgg_heads",
        name="",
        study="forms",
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
            "rank": 20,
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
        variants=tuple({"name": name, **fields} for name, fields in (heads | whole).items()),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 60.0, "sample_devices": 1},
    )
