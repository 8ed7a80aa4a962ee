"""The README's examples run as they stand, one after the other."""

import re
import sys
from pathlib import Path

from liveness import finish, without_settings

ROOT = Path(__file__).parents[1]


def test_the_examples_of_the_readme_run():
    examples = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    assert "assert excess_value" in examples
    assert "assert all(jnp.allclose" in examples
    environment = without_settings()
    # As in the rest of the suite; the examples set XLA_FLAGS themselves.
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    child = finish([sys.executable, "-c", examples], cwd=ROOT, env=environment)
    assert child.returncode == 0, child.stderr
