"""Load and compare runs
=====================

A finished run is a folder. ``experiments.runs`` reads it: the config, the claims, and every observation as a labelled
array or as a table. Published folders, below ``figures``, are read in the same way, and have no observations.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import lawlib

ROOT = Path(lawlib.__file__).parents[1]
sys.path.append(str(ROOT))  # where `experiments` lies
from experiments.runs import compare, frame, load  # noqa: E402

# %%
# Two published runs of one config side by side: networks of width 300 and of width 1000.

TABLE = compare(load(ROOT / "figures" / "dln_muon"), load(ROOT / "figures" / "dln_muon_paper"))
print(TABLE.drop(columns="statement").to_string())
VERDICTS = TABLE[["dln_muon: verdict", "dln_muon_paper: verdict"]]

# %%
# A run with its observations; a small one, which takes seconds.

FOLDER = Path(tempfile.mkdtemp()) / "momentum"
COMMAND = [sys.executable, "-m", "experiments.main", "--config=configs/dln_momentum.py:smoke", f"--workdir={FOLDER}"]
subprocess.run(COMMAND, cwd=ROOT, capture_output=True, check=True)
RUN = load(FOLDER)
print(RUN, *RUN.variables)

# %%
# ``frame`` has a row for each number of a variable. Here rho(t) for each momentum, as the median over the seeds.

RHO = frame(RUN, "rho")
CURVES = RHO.groupby(["momentum", "step"]).value.median().unstack("momentum")
CURVES.plot(ylabel="rho(t)")
print(CURVES.iloc[[0, -1]].to_string())
assert (CURVES.iloc[0] == RUN.config.net.scale).all()
assert CURVES.iloc[-1].is_monotonic_decreasing  # momentum moves the idle value further
plt.tight_layout()
