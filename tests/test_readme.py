"""The README's example runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_example_of_the_readme_runs(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "assert excess_value" in example
    environment = {name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")}
    child = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, env=environment, timeout=200, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
