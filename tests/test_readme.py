"""The README's examples run as they stand, one after the other."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_examples_of_the_readme_run():
    examples = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    assert "assert excess_value" in examples
    assert "assert all(jnp.allclose" in examples
    environment = {name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")}
    # As in the rest of the suite; the examples set XLA_FLAGS themselves.
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    child = subprocess.run(
        [sys.executable, "-c", examples], cwd=ROOT, env=environment, timeout=200, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
