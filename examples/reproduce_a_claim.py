"""Reproduce a claim and change a number
=====================================

A config computes a figure of a paper and judges its claims. This is Figure 9 of Yaras et al. 2023, the law of parsimony
under momentum, with another momentum than any that was published: 0.7. The command runs in a checkout.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import lawlib

ROOT = Path(lawlib.__file__).parents[1]
sys.path.append(str(ROOT))  # where `experiments` lies
from experiments.runs import compare, load  # noqa: E402

# %%
# ``smoke`` is the profile of few seeds. Every field of the config can be set; here it is the value that is swept.

FOLDER = Path(tempfile.mkdtemp()) / "momentum"
COMMAND = ["-m", "experiments.main", "--config=configs/dln_momentum.py:smoke", "--config.sweep.opt.momentum=0.7"]
subprocess.run([sys.executable, *COMMAND, f"--workdir={FOLDER}"], cwd=ROOT, capture_output=True, check=True)

# %%
# The claims of this run beside those that are published. ``T1.value``: the singular values of the idle directions equal
# the predicted rho(t).

TABLE = compare(load(FOLDER), load(ROOT / "figures" / "dln_momentum")).set_index("id")
print(TABLE.drop(columns="statement").to_string())
assert set(TABLE["momentum: verdict"]) == {"holds"}
assert TABLE["momentum: measured"].to_dict()["T1.value[case1]"] < 1e-12
