"""``python tests/support/deadlock_configs.py TIMES``: first segments of three configs, a decomposition a device.

Deadlocks where NPROC is no larger than the number of CPU devices. Without NPROC, importing ``experiments`` prevents it:
``NPROC=4 XLA_FLAGS=--xla_force_host_platform_device_count=4 PYTHONPATH=. python tests/support/deadlock_configs.py 5``.
"""

import sys
from pathlib import Path

from experiments.runner import settings
from experiments.runner.experiment import load
from experiments.runner.run import prepare, work_of
from lawlib.dynamics.sweep import plan, sweep

CONFIGS = ("dln_parsimony", "dln_momentum", "inverse_decay")


def first_segments(name: str, times: int) -> int:
    """How many of the first segments of a config's first variant ended."""
    config = settings.load(f"{Path(__file__).parents[2]}/configs/{name}.py:smoke")
    first = work_of(config, load(config.experiment))[0]
    cut = plan(*first.system, len(first.times), on_cpu=True, num_devices=first.mesh.size)
    return len([next(sweep(*first.system, first.times.tolist(), plan=cut, mesh=first.mesh)) for _ in range(times)])


if __name__ == "__main__":
    prepare()
    for config_name in CONFIGS:
        print(config_name, first_segments(config_name, int(sys.argv[1])), flush=True)
