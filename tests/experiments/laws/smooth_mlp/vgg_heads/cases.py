"""Made-up results of VGG-16's heads: what the paper says and what was found, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid


def ids(*names, titles=("SiLU", "GELU")):
    return frozenset(f"{name}[{title}]" for name in names for title in titles)


EARLY = [f"F7.{start}_{clock}" for start in ("random", "batch", "all") for clock in ("sum", "steps")]
EDGES = ids("F7.batch", "F7.all", "F7.conjecture", "F7.epochs", "F7.epochs_cause", *EARLY)
IMAGENET = ids("F7.imagenet", "F7.imagenet_random")
SEEN = ids("F7.epochs", "F7.epochs_cause", *EARLY)
RANK_EDGES = ids("F15.gain_batch", "F15.gain_all", "F15.width_batch", "F15.width_all")
RANK_IMAGENET = ids("F15.imagenet_batch", "F15.imagenet_all")
WHOLE = ids("F7.whole", "F7.whole_random")
SMALL = ("num_seeds=2",)
CASES = {
    "forms": Case("vgg16_cifar10", SMALL, IMAGENET | WHOLE),
    "rank": Case("vgg16_rank", SMALL, RANK_IMAGENET),
    "forms, ImageNet": Case("vgg16_cifar10", SMALL, EDGES, "paper"),
    "rank, ImageNet": Case("vgg16_rank", SMALL, RANK_EDGES, "paper"),
    "seen too rarely": Case("vgg16_cifar10", (*SMALL, "observe.num_times=2"), IMAGENET | WHOLE | SEEN),
}
ENDS, BATCH_BEHIND = {"full": 0.7, "s_big": 0.665, "random": 0.2}, 0.5


def lawful(config):
    """S_big ends near the full head, all images nearer than one batch, more columns nearer; random stays at first.

    One batch takes half of the epochs to its end, the others a third.
    """
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    net, data = config.net, config.data
    end = ENDS[net.form] + (net.form == "s_big") * 0.005 * np.log2(net.rank / 20)
    is_batch = net.form == "s_big" and data.gradient_images
    if is_batch:
        end -= BATCH_BEHIND / net.rank if config.opt.trains == "head" else -0.025
    rise, shape = np.linspace(0, 1, len(times)), (len(members.seeds), len(times))
    stuck = net.form == "random"
    seen = {
        "train_loss": np.log(10) * np.where(rise > 0, 0.998 if stuck else 0.5, 1.0),
        "test_loss": np.log(10) * np.where(rise > 0, 0.998 if stuck else 0.5, 1.0),
        "test_accuracy": 0.1 + (end - 0.1) * np.minimum(1, (2 if is_batch else 3) * rise),
        "input_norm": np.ones(len(times)),
        "basis_bound": np.ones(len(times)),
        "start_gradient": np.tile([0.1, 0.01, 0.005], (len(times), 1)),
    }
    never = np.full(shape[0], -1)
    seen = {name: np.repeat(x[None], shape[0], axis=0) for name, x in seen.items()}
    return seen | {"converged_at": never, "diverged_at": never.copy()}


# What breaks the claims. ----------------------------------------------------------------------------------------------


def shifted(name, field, amount, step=-1):
    """One observation of the last member."""

    def change(variant, seen):
        if variant == name:
            seen[field][-1, step] += amount

    return change


def raised(name, amount):
    """The accuracies of all members, for laws of the mean."""

    def change(variant, seen):
        if variant == name:
            seen["test_accuracy"] += amount

    return change


def delayed(name, epoch):
    """The last member has no accuracy before this epoch."""

    def change(variant, seen):
        if variant == name:
            seen["test_accuracy"][-1, :epoch] = 0.1

    return change


def broken(case, change, *fails):
    return Break(case, change, frozenset(fails))


# Of 35 epochs of 78 steps the last one before 1000 steps is epoch 12, and that before a sum of 2.7 epoch 7.
BREAKS = {
    "one batch falls behind": broken("forms", shifted("gelu_s_big_batch", "test_accuracy", -0.1), "F7.batch[GELU]"),
    "all images fall behind": broken("forms", raised("silu_full", 0.12), "F7.batch[SiLU]", "F7.all[SiLU]"),
    "all images are no better": broken("forms", shifted("silu_s_big", "test_accuracy", -0.04), "F7.conjecture[SiLU]"),
    "one batch is as fast": broken(
        "forms", shifted("silu_s_big_batch", "test_accuracy", 0.25, 11), "F7.epochs[SiLU]", "F7.epochs_cause[SiLU]"
    ),
    "all images take longer": broken("forms", delayed("gelu_s_big", 19), "F7.epochs_cause[GELU]"),
    "random learns by the sum": broken("forms", shifted("silu_random", "train_loss", -0.1, 7), "F7.random_sum[SiLU]"),
    "random learns early": broken("forms", shifted("silu_random", "train_loss", -0.1, 12), "F7.random_steps[SiLU]"),
    "one batch does not, by the sum": broken(
        "forms", shifted("silu_s_big_batch", "train_loss", 0.5, 7), "F7.batch_sum[SiLU]"
    ),
    "one batch does not": broken("forms", shifted("gelu_s_big_batch", "train_loss", 0.5, 12), "F7.batch_steps[GELU]"),
    "all images do not, by the sum": broken("forms", shifted("silu_s_big", "train_loss", 0.5, 7), "F7.all_sum[SiLU]"),
    "all images do not": broken("forms", shifted("silu_s_big", "train_loss", 0.5, 12), "F7.all_steps[SiLU]"),
    "the whole network does not learn": broken(
        "forms", shifted("silu_full_whole", "train_loss", 1.2), "F7.learns[SiLU, full]"
    ),
    "the whole network learns in a random subspace too": broken(
        "forms", shifted("gelu_random_whole", "train_loss", -1.2), "F7.contrast[GELU]"
    ),
    "more columns are worse": broken("rank", shifted("silu_all_r40", "test_accuracy", -0.04), "F15.gain_all[SiLU]"),
    "more columns are worse, one batch": broken(
        "rank", shifted("gelu_batch_r40", "test_accuracy", -0.08), "F15.gain_batch[GELU]"
    ),
    "most columns are far from full": broken("rank", raised("silu_all_r160", -0.04), "F15.width_all[SiLU]"),
    "most columns of one batch are far from full": broken(
        "rank", raised("gelu_batch_r160", -0.04), "F15.width_batch[GELU]"
    ),
    "ImageNet": broken("forms, ImageNet", shifted("silu_s_big_batch", "test_accuracy", -0.1), "F7.imagenet[SiLU]"),
    "ImageNet, random": broken(
        "forms, ImageNet", shifted("gelu_random", "train_loss", -0.1), "F7.imagenet_random[GELU]"
    ),
    "ImageNet, whole": broken(
        "forms, ImageNet", shifted("silu_s_big_batch_whole", "test_accuracy", -0.03), "F7.whole[SiLU]"
    ),
    "ImageNet, whole, random": broken(
        "forms, ImageNet", shifted("gelu_random_whole", "train_loss", -0.1), "F7.whole_random[GELU]"
    ),
    "ImageNet, rank": broken(
        "rank, ImageNet", shifted("silu_all_r40", "test_accuracy", -0.04), "F15.imagenet_all[SiLU]"
    ),
    "ImageNet, rank, one batch": broken("rank, ImageNet", raised("silu_batch_r40", -0.04), "F15.imagenet_batch[SiLU]"),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

RULES = {
    name: Rule("vgg16_cifar10", fields, line)
    for name, fields, line in (
        ("rank", {"net.rank": 19}, "net.rank = 19: must be in 20..2304, from 2K up"),
        ("size", {"data.size": 15}, "data.size = 15: must be at least 16 for 4 poolings"),
        (
            "classes",
            {"data.num_train": 4005, "data.gradient_images": 500},
            "data.num_train = 4005: must be a multiple of 10, at most 50000",
        ),
        ("cut", {"data.num_probe": 990}, "data.num_probe = 990: must be a multiple of data.eval_batch = 500"),
        ("batch", {"opt.batch_size": 10_001}, "opt.batch_size = 10001: must be at most data.num_train = 10000"),
        ("devices", {"run.sample_devices": 3}, "run.sample_devices = 3: must divide opt.batch_size = 128"),
        ("no device", {"run.sample_devices": 0}, "run.sample_devices = 0: must be an integer >= 1"),
        ("momentum", {"opt.momentum": 1.0}, "opt.momentum = 1.0: must be a finite number >= 0.0 and < 1.0"),
        (
            "gradient",
            {"data.gradient_images": 750},
            "data.gradient_images = 750: must be 0 for all, or at most data.num_train = 10000, and a multiple of 500",
        ),
    )
}
