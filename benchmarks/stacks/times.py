"""The numbers of one process: ``python -m benchmarks.stacks.times GROUP ...`` prints JSON, ``--versions`` the stack."""

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import completion, equivalent, figure_3, flows, jumps
from benchmarks.overhead import observed_loss
from benchmarks.spectra import against_svd
from benchmarks.timing import median, seconds
from experiments.runner.run import prepare
from lawlib.cpu import is_affected
from lawlib.dynamics.sweep import grid, plan, sweep

REPEATS, TOGETHER, STEPS, SEEDS = 5, 16, 100, 20


def machine() -> dict[str, float]:
    """A float64 product, the machine's own speed beside what else is measured."""
    A = jnp.ones((1500, 1500), jnp.float64)
    multiply = jax.jit(jnp.matmul)
    return {"product 1500 x 1500, ms": 1e3 * median(lambda: multiply(A, A), REPEATS)}


def sweeps() -> dict[str, float]:
    """Steps of deep linear networks by the sweep, on all devices of this process."""
    system = observed_loss()
    one, many = (median(_swept(system, members), REPEATS) for members in (1, TOGETHER))
    return {
        "step of one network, d = 100, L = 3, by the sweep, us": one / STEPS * 1e6,
        f"step of {TOGETHER} such networks side by side (vmap), us a network": many / STEPS / TOGETHER * 1e6,
    }


def _swept(system: Any, members: int) -> Callable[[], list]:
    mesh = jax.make_mesh((min(members, jax.device_count()),), ("members",))
    work = system, jax.random.key(0), grid(members, {}, "float64"), ()
    cut = plan(*work, 2, on_cpu=True, num_devices=mesh.size, batch=members)
    return lambda: [segment.observations for segment in sweep(*work, (0, STEPS), plan=cut, mesh=mesh)]


def networks() -> dict[str, float]:
    """Steps of the d x d network and of the small one, of Euler's method and of single-entry SGD, in bare loops."""
    weights, target, reduction = equivalent.draw()
    full = median(equivalent.full_steps(weights, target), REPEATS) / equivalent.FULL_STEPS
    small = median(equivalent.small_steps(reduction), REPEATS) / equivalent.SMALL_STEPS
    euler = median(flows.euler_steps(), REPEATS) / flows.STEPS
    entries = median(jumps.bare_steps(*jumps.draw(jumps.annealing())), REPEATS)
    return {
        "step of the d x d network, d = 1000, L = 3, ms": full * 1e3,
        "step of the 2r x 2r network in its place, us": small * 1e6,
        "Euler step of 60 induced flows, us": euler * 1e6,
        "SGD step on one entry, width 100, us a network": entries / jumps.MEMBERS / jumps.PLAIN_STEPS * 1e6,
    }


def decompositions() -> dict[str, float]:
    """Figure 3's sweep with its compilation, batched singular value decompositions, and one of 784 x 784."""
    figure = figure_3.measure(SEEDS)
    single = against_svd((784, 784), jnp.float32, 1e-4, REPEATS)
    return {
        f"Figure 3 with {SEEDS} seeds: compilation, s": figure["with_compilation_s"] - figure["sweep_s"],
        f"Figure 3 with {SEEDS} seeds: run, s": figure["sweep_s"],
        f"{2 * 3 * 51 * SEEDS} SVDs of 30 x 30, s": figure["decompositions_s"],
        "SVD of 784 x 784, float32, ms": single["784x784_float32_svd_ms"],
        "its 20 leading triplets by block Krylov, ms": single["784x784_float32_ms"],
    }


def completing() -> dict[str, float]:
    """The deep solver on one matrix."""
    drawn = completion.draw(0, completion.WIDTH, completion.SHARE)
    row = completion.run(completion.deep, *drawn)
    return {
        "completion, d = 1000, r = 5, 20% observed: with compilation, s": row.first_s,
        "completion, d = 1000, r = 5, 20% observed: again, s": row.seconds,
    }


def schedule() -> dict[str, float]:
    """A number for the order in which a gradient step's compiled program has its operations."""
    system = observed_loss()
    target, iterate = jax.eval_shape(system.init, jax.random.key(0), {}, ())
    step = jax.jit(lambda iterate, target: system.step(jnp.asarray(0), iterate, target, ()))
    text = step.lower(iterate, target).compile().as_text() or ""
    return {"schedule": float(int(hashlib.sha256(text.encode()).hexdigest()[:12], 16))}


def importing() -> dict[str, float]:
    """Seconds of a new process that imports the library and multiplies once."""
    return {"import of jax and lawlib, and a first product, s": seconds(_first_product)}


def _first_product() -> None:
    program = "import experiments, lawlib, jax.numpy as jnp; jnp.ones((2, 2)) @ jnp.ones((2, 2))"
    subprocess.run([sys.executable, "-c", program], check=True)


def versions() -> dict[str, Any]:
    """The versions that matter, and whether jaxlib has the faults of before 0.11."""
    own = {"python": platform.python_version(), "jax": jax.__version__, "numpy": np.__version__}
    return {"versions": own, "is_affected": is_affected()}


GROUPS = (importing, machine, sweeps, networks, decompositions, completing, schedule)


def main(names: list[str]) -> None:
    """Print what the named groups measure, as one JSON object."""
    if names == ["--versions"]:
        print(json.dumps(versions()))
        return
    prepare()
    chosen = {group.__name__: group for group in GROUPS}
    print(json.dumps({name: value for group in names for name, value in chosen[group]().items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
