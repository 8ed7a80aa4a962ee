"""Which optimizers commute with rotations, so that the law of parsimony holds: every one of optax's common tests.

``python -m benchmarks.equivariance`` writes benchmarks/results/equivariance.md: the defect of each optimizer
(``theory.equivariance``), and how far the small network of ``compress.transformed`` is from the whole one.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from jax import lax
from optax import contrib

from benchmarks import page
from experiments.runner.run import prepare
from lawlib import compress
from lawlib.descent.steps import transformed
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import low_rank_target
from lawlib.theory.equivariance import equivariance_defect

RESULTS = Path(__file__).parent / "results"
# The optimizers of optax's common tests (alias_test.py and contrib/_common_test.py of optax 0.2.8), with their rates.
ALIASES = {
    "adabelief": {"learning_rate": 1e-2},
    "adadelta": {"learning_rate": 0.1},
    "adafactor": {"learning_rate": 5e-3},
    "adagrad": {"learning_rate": 1.0},
    "adam": {"learning_rate": 1e-1},
    "adamax": {"learning_rate": 1e-1},
    "adamaxw": {"learning_rate": 1e-1},
    "adamw": {"learning_rate": 1e-1},
    "adan": {"learning_rate": 1e-1},
    "amsgrad": {"learning_rate": 1e-1},
    "fromage": {"learning_rate": 5e-3},
    "lamb": {"learning_rate": 1e-3},
    "lars": {"learning_rate": 1.0},
    "lion": {"learning_rate": 1e-2, "weight_decay": 1e-4},
    "nadam": {"learning_rate": 1e-2},
    "nadamw": {"learning_rate": 1e-2},
    "noisy_sgd": {"learning_rate": 1e-3, "eta": 1e-4, "key": 0},
    "novograd": {"learning_rate": 1e-3},
    "optimistic_adam_v2": {"learning_rate": 2e-3},
    "optimistic_gradient_descent": {"learning_rate": 2e-3, "alpha": 0.7, "beta": 0.1},
    "polyak_sgd": {"max_learning_rate": 1.0},
    "radam": {"learning_rate": 5e-3},
    "rmsprop": {"learning_rate": 5e-3, "momentum": 0.9},
    "rprop": {"learning_rate": 1e-1},
    "sgd": {"learning_rate": 1e-3, "momentum": 0.9},
    "sign_sgd": {"learning_rate": 1e-1},
    "signum": {"learning_rate": 1e-2},
    "sm3": {"learning_rate": 1.0},
    "yogi": {"learning_rate": 1e-1},
}
CONTRIBUTED = {
    "acprop": {"learning_rate": 1e-3},
    "ademamix": {"learning_rate": 1e-3},
    "simplified_ademamix": {"learning_rate": 1e-3},
    "adopt": {"learning_rate": 1e-2},
    "cocob": {},
    "dadapt_adamw": {"learning_rate": 1e-1},
    "dog": {"learning_rate": 1.0},
    "dowg": {"learning_rate": 1.0},
    "madgrad": {"learning_rate": 1e-2},
    "momo": {"learning_rate": 1e-1},
    "momo_adam": {"learning_rate": 1e-1},
    "muon": {"learning_rate": 1e-2},
    "prodigy": {"learning_rate": 1e-1},
    "schedule_free_sgd": {"learning_rate": 1e-2, "warmup_steps": 5000},
    "schedule_free_adamw": {"learning_rate": 1e-2, "warmup_steps": 5000},
    "sophia": {"learning_rate": 1e-2},
    "galore": {"learning_rate": 1e-2, "rank": 8},
}
# Wrappers and settings beyond those of the tests.
OTHERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "mechanize(sgd)": lambda: contrib.mechanize(optax.sgd(0.1)),
    "schedule_free(sgd)": lambda: contrib.schedule_free(optax.sgd(1e-2), learning_rate=1e-2),
    "reduce_on_plateau, sgd": lambda: optax.chain(optax.sgd(1e-3), contrib.reduce_on_plateau()),
    "lbfgs": optax.lbfgs,
    "clip_by_global_norm, sgd": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-2)),
    "adaptive_grad_clip, sgd": lambda: optax.chain(optax.adaptive_grad_clip(0.1), optax.sgd(1e-2)),
    "muon, schatten": lambda: contrib.muon(1e-2, preconditioning="schatten"),
    "muon, spectral": lambda: contrib.muon(1e-2, preconditioning="spectral"),
    "muon, aol": lambda: contrib.muon(1e-2, preconditioning="aol"),
    "galore of sgd, rank 2": lambda: contrib.galore(1e-2, 2, base_optimizer=optax.identity()),
    "galore of sgd, rank 8": lambda: contrib.galore(1e-2, 8, base_optimizer=optax.identity()),
    "galore of adam, rank 2": lambda: contrib.galore(1e-2, 2),
}
WIDTH, RANK, STEPS, REPEATED = 14, 2, 10, 6


def main() -> None:
    """Measure and write the table."""
    prepare()
    warnings.simplefilter("ignore")
    rows = [*map(_row, _optimizers().items())]
    title, introduction = page.described(__doc__)
    about = title, f"{introduction}\n\n{_EXPLAINED.format(optax.__version__)}"
    page.write(RESULTS, "equivariance", about, [page.Table(("optimizer", "defect", "small network"), rows)])


_EXPLAINED = """The defect is max_t ||U W(t) V^T - W'(t)||_F / max_t ||W(t) - W(0)||_F over ten steps in float64, of
the worst layer, for random gradients of which six singular values are equal, as in the law: 0 up to rounding for a
step that commutes with rotations. The last column is the largest difference of an entry of the whole network's
weights (d = 14, r = 2, three layers, ten steps), or says why there is no small network. Defects of 1e-10 to 1e-6 come
from numbers in float32 inside optax {}, as the singular vectors of GaLore, or from steps that are small compared with
the weights. Rates are those of optax's tests."""


def _optimizers() -> dict[str, Callable[[], optax.GradientTransformation]]:
    made = {name: lambda name=name, rates=rates: getattr(optax, name)(**rates) for name, rates in ALIASES.items()}
    made |= {
        name: lambda name=name, rates=rates: getattr(contrib, name)(**rates) for name, rates in CONTRIBUTED.items()
    }
    return made | OTHERS


def _row(item: tuple[str, Callable[[], optax.GradientTransformation]]) -> tuple[str, ...]:
    name, make = item
    defect = float(equivariance_defect(make(), key=jax.random.key(0), repeated=REPEATED))
    row = name, f"{defect:.1e}", _difference(make())
    print(*row, sep=" | ", flush=True)
    return row


def _difference(transform: optax.GradientTransformation) -> str:
    """How far the small network is from the whole one after some steps."""
    key_target, key_weights = jax.random.split(jax.random.key(0))
    target = low_rank_target(key_target, (WIDTH, WIDTH), RANK, jnp.float64)
    weights = orthogonal_weights(key_weights, (WIDTH,) * 4, 0.9, jnp.float64)
    reduction = compress.reduce(weights, target, RANK)
    small = compress.transformed(transform)
    try:
        start = small.init(reduction)
    except ValueError as refusal:
        return "no: " + str(refusal).split(": ", 1)[1].split(";")[0]
    whole = transformed(_loss, transform)
    after = jax.jit(lambda W: lax.fori_loop(0, STEPS, lambda _, at: whole.step(at, target), whole.init(W)))(weights)
    found = jax.jit(lambda at: lax.fori_loop(0, STEPS, lambda _, at: small.step(at, reduction), at))(start)
    pairs = zip(compress.expand(reduction, found.weights, weights), after.weights, strict=True)
    return f"{max(float(jnp.abs(one - other).max()) for one, other in pairs):.1e}"


def _loss(weights: tuple, target: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(end_to_end(weights) - target)) / 2


if __name__ == "__main__":
    main()
