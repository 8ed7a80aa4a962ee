"""A member's own value of a field, and that nothing else can be read where the field is swept."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments.runner.hyperparameters import guarded, value_of

CONFIG = ConfigDict({"precision": "float32", "opt": {"step_size": 0.5, "num": 3}, "sweep": {"opt": {"num": (1, 2)}}})


def test_a_member_has_the_swept_value_or_that_of_the_config():
    assert value_of(CONFIG, {"opt.num": jnp.asarray(2.0)}, "opt.num") == 2
    own = value_of(CONFIG, {}, "opt.step_size")
    assert (float(own), own.dtype) == (0.5, jnp.float32)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + 1,
        lambda x: 2 * x,
        lambda x: x**-0.5,
        lambda x: x > 0,
        lambda x: x == 3,
        lambda x: bool(x),
        lambda x: range(x),
        lambda x: np.zeros(x),
        lambda x: np.asarray(x),
        lambda x: jnp.asarray(x),
        lambda x: jnp.ones(3) * x,
        lambda x: np.ones(3) * x,
    ],
)
def test_any_other_use_of_a_swept_field_is_refused_by_its_path(use):
    config = guarded(CONFIG)
    assert config.opt.step_size == 0.5
    assert CONFIG.opt.num == 3
    with pytest.raises(TypeError, match=r"opt\.num"):
        use(config.opt.num)
    assert value_of(config, {"opt.num": jnp.asarray(2.0)}, "opt.num") == 2
