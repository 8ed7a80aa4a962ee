"""With jaxlib before 0.11 it hangs in most of its runs where XLA runs operations at once, NPROC 2, 4, 8 and 16 alike.

``XLA_FLAGS=--xla_cpu_enable_concurrency_optimized_scheduler=true PYTHONPATH=.
python tests/support/deadlock_reproducer.py``
shows it; without XLA_FLAGS, importing ``experiments`` prevents it. Sixteen three-layer networks of width 100 are drawn
and stepped side by side, five times.
"""

import experiments  # noqa: F401, I001  (prepares the process before JAX touches a device)

import jax

from benchmarks.overhead import observed_loss
from lawlib.dynamics.sweep import Plan, grid, sweep

jax.config.update("jax_enable_x64", True)
system, members, mesh = observed_loss(), grid(16, {}, "float64"), jax.make_mesh((jax.device_count(),), ("members",))
for _ in range(5):
    cut = Plan(chunk=16, batch=16, segment=3)
    (segment,) = sweep(system, jax.random.key(0), members, (), (0, 2, 4), plan=cut, mesh=mesh)
print(segment.observations["loss"].shape, segment.last)
