"""A stochastic system for the sweep's tests; as a script, one sweep of it on 1, 2 and 8 devices.

``python -m tests.support.sweep_devices FILE`` with XLA_FLAGS=--xla_force_host_platform_device_count=8 writes, for each
number of devices, the observations and the draws of every member.
"""

import sys
from typing import NamedTuple

import experiments  # noqa: F401  (prepares the process before JAX touches a device)

import jax  # isort: skip
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lawlib.dynamics.sweep import grid, plan, sweep
from lawlib.dynamics.system import Dynamics

TIMES = (0, 1, 3, 4, 7, 12, 13)
DEVICES = (1, 2, 8)


class Drawn(NamedTuple):
    key: jax.Array
    matrix: jax.Array
    noise: jax.Array
    hyperparameters: dict


class Walk(NamedTuple):
    x: jax.Array
    draw: jax.Array


def walk(dtype=jnp.float64):
    """The walk x <- x + rate (A x / (1 + |x|^2) + drift - x) + noise draw(t).

    A, x(0) and all draw(t) are odd multiples of the two random words in the key: the generator is long to compile.
    """

    def init(key, hyperparameters, shared):
        odd = 2 * jnp.arange(TIMES[-1] + 3, dtype=jnp.uint32)[:, None] + 1
        numbers = 3 * (odd * jax.random.key_data(key)[None]).astype(dtype) / 2**32 - 1.5
        return Drawn(key, numbers[:2], numbers[2:], dict(hyperparameters)), Walk(numbers[0], numbers[2])

    def step(t, walk, drawn, shared):
        pull = drawn.matrix @ walk.x / (1 + jnp.sum(walk.x**2)) + shared["drift"] - walk.x
        x = walk.x + drawn.hyperparameters["rate"] * pull + drawn.hyperparameters["noise"] * walk.draw
        return Walk(x, drawn.noise[t + 1])

    return Dynamics(init, step, lambda t, walk, drawn, shared: {**walk._asdict(), "t": t})


def shared_by_all(dtype=jnp.float64):
    return {"drift": jnp.asarray([0.1, -0.2], dtype)}


def mesh_of(num_devices):
    return Mesh(np.array(jax.devices()[:num_devices]), ("members",))


def observe(t, walk, drawn, shared):
    """The state and what a stochastic step would draw."""
    fresh = jax.random.uniform(jax.random.fold_in(drawn.key, t), (2,), walk.x.dtype)
    return {**walk._asdict(), "t": t, "fresh": fresh}


def main(path):
    jax.config.update("jax_enable_x64", True)
    system, key, shared = walk()._replace(observe=observe), jax.random.key(7), shared_by_all()
    members = grid(11, {"rate": (0.3,), "noise": (0.2,)}, np.float64)
    found = {}
    for devices in DEVICES:
        cut = plan(system, key, members, shared, len(TIMES), on_cpu=True, num_devices=devices, segment=4)
        assert cut.chunk % devices == 0
        segments = list(sweep(system, key, members, shared, TIMES, plan=cut, mesh=mesh_of(devices)))
        assert len(segments[-1].trajectory.problem.matrix.sharding.device_set) == devices
        for name in ("x", "draw", "fresh", "t"):
            found[f"{name}_{devices}"] = np.concatenate([s.observations[name] for s in segments], axis=1)
        found[f"matrix_{devices}"] = np.asarray(segments[-1].trajectory.problem.matrix)[: len(members.seeds)]
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
