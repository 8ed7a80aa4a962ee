"""What an accelerator changes: exactness with reduced products off and on, batched decompositions, two figures.

``benchmarks/gpu.sh`` runs everything in at most ten minutes; this file measures the first two parts and writes the
table. Exactness: the law of parsimony (Theorem 1, Case 1, L = 3, r = 3, eps = 1, weight decay 0.1, 50 steps of size
1 / (30 d)) for seeds under vmap, in float64 and float32, with products of the highest precision and of the device's
default, which rounds the factors of float32 products on GPUs (TF32) and TPUs. "excess" is sigma_{2r+1} of
W(t) - rho(t) W(0), the largest over seeds and layers; the law says 0. Decompositions: milliseconds of jnp.linalg.svd
for each matrix of a stack under vmap and alone, and the largest ||U S V^T - A||_F / ||A||_F. The runs are those of
configs, judged by their own claims; "seconds" include compilation.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import page
from benchmarks.timing import limits, median
from experiments.runner.finished import read
from experiments.runner.run import prepare
from experiments.runner.store import InputError
from lawlib.descent.steps import gradient_descent, sum_squared_error
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal
from lawlib.problems.synthetic import low_rank_target
from lawlib.theory.parsimony import excess_value, rho_square
from lawlib.types import PRNGKey, Scalar

DEPTH, RANK, STEPS = 3, 3, 50
# Width and number of seeds; the stack's height and the side of its matrices.
SIZES = {"whole": ((30, 256), (1000, 4)), "smoke": ((30, 2),)}
STACKS = {"whole": ((256, 30), (16, 784), (2, 4096)), "smoke": ((2, 30),)}
# None leaves the device its default.
PRECISIONS = {"highest": "highest", "default": None}
PART = "measured.json"


def measure(size: str) -> dict[str, float]:
    """Exactness and decompositions."""
    measured = limits()
    for width, seeds in SIZES[size]:
        for dtype in (jnp.float64, jnp.float32):
            for name, precision in PRECISIONS.items():
                with jax.default_matmul_precision(precision):
                    row = f"d = {width}, {jnp.dtype(dtype)}, {name} precision, {seeds} seeds: excess"
                    measured[row] = excess(width, seeds, dtype)
    for count, side in STACKS[size]:
        measured |= _decompositions(count, side)
    return measured


def excess(width: int, seeds: int, dtype: Any) -> float:
    """The largest singular value beyond 2r of W(STEPS) - rho(STEPS) W(0), over seeds and layers."""

    def of_seed(key: PRNGKey) -> Scalar:
        key_target, *keys = jax.random.split(key, DEPTH + 1)
        target = low_rank_target(key_target, (width, width), RANK, dtype)
        start = tuple(orthogonal(1.0)(key, (width, width), dtype) for key in keys)
        descent = gradient_descent(lambda weights: sum_squared_error(end_to_end(weights), target))
        rates = {"step_size": 1 / (30 * width), "weight_decay": 0.1}

        def step(_: int, at: tuple[Any, Scalar]) -> tuple[Any, Scalar]:
            iterate, rho = at
            moved = descent.step(iterate, **rates)
            return moved, jnp.asarray(rho_square(rho, before=rho, depth=DEPTH, momentum=0.0, **rates), dtype)

        last, rho = jax.lax.fori_loop(0, STEPS, step, (descent.init(start), jnp.ones((), dtype)))
        each = [excess_value(W, W0, rho, scale=1.0, rank=RANK) for W, W0 in zip(last.weights, start, strict=True)]
        return jnp.max(jnp.stack(each))

    return float(jnp.max(jax.jit(jax.vmap(of_seed))(jax.random.split(jax.random.key(0), seeds))))


def _decompositions(count: int, side: int) -> dict[str, float]:
    stack = jax.random.normal(jax.random.key(1), (count, side, side), jnp.float32)
    batched = jax.jit(jax.vmap(lambda A: jnp.linalg.svd(A, full_matrices=False)))
    single = jax.jit(lambda A: jnp.linalg.svd(A, full_matrices=False))
    U, s, Vt = batched(stack)
    with jax.default_matmul_precision("highest"):
        gaps = jnp.linalg.norm((U * s[:, None, :]) @ Vt - stack, axis=(1, 2)) / jnp.linalg.norm(stack, axis=(1, 2))
    title = f"SVD, {count} x {side} x {side}, float32"
    return {
        f"{title}: ms each under vmap": median(lambda: batched(stack), 3) / count * 1e3,
        f"{title}: ms alone": median(lambda: single(stack[0]), 3) * 1e3,
        f"{title}: relative error": float(jnp.max(gaps)),
    }


def write(folder: Path, measured: Mapping[str, float], runs: Mapping[str, str]) -> str:
    """Write the page: what was measured here, and the verdicts of the runs."""
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}"
    tables = [page.measurements(measured), page.Table(("run", "claims"), list(runs.items()))]
    return page.write(folder, "gpu", page.described(__doc__), tables, machine=device)


def verdicts(folder: Path) -> str:
    """How many claims of a run have each verdict, and its seconds; or why there is none."""
    try:
        run = read(folder)
    except InputError as refusal:
        return "not finished: " + "; ".join(refusal.problems)
    counts: dict[str, int] = {}
    for claim in run.claims:
        counts[claim.status] = counts.get(claim.status, 0) + 1
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    spent, device = run.provenance["compile_s"] + run.provenance["run_s"], run.provenance["device_kind"]
    return f"{told}; {spent:.0f} seconds on {device}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure into the folder, or write the table from what lies there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Exactness and speed on a device.")
    parser.add_argument("part", choices=("measure", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=tuple(SIZES), default="whole")
    options = parser.parse_args(arguments)
    prepare()
    if options.part == "measure":
        options.folder.mkdir(parents=True, exist_ok=True)
        (options.folder / PART).write_text(json.dumps(measure(options.size), indent=1))
        return 0
    part = options.folder / PART
    measured = json.loads(part.read_text()) if part.exists() else {}
    runs = {path.name: verdicts(path) for path in sorted(options.folder.iterdir()) if path.is_dir()}
    print(write(options.folder, measured, runs))
    return 0 if measured else 1


if __name__ == "__main__":
    sys.exit(main())
