"""What claims and figures of Corollary 2.6 measure: both bounds on the test error, with all hidden constants 1."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.runs import Run
from lawlib.theory import inverse_problems as theory


def upper_bound(run: Run) -> np.ndarray:
    """(19) for every member and sigma, with the member's own gamma."""
    about = {"width": run.config.net.width, "noise": jnp.asarray(run.config.data.noise)}
    members = zip(run.last("accuracy"), jnp.asarray(run.first("signal_values")), strict=True)
    return np.stack([theory.regularized_error(gamma=float(g), singular_values=v, **about) for g, v in members])


def lower_bound(run: Run) -> np.ndarray:
    """(20) for every member and sigma, with the member's own regression error as beta."""
    data = run.config.data
    sizes = {"dimension": data.dimension, "num_measurements": data.num_measurements}
    bound = ft.partial(theory.unregularized_error, **sizes)

    def of_member(beta: jax.Array, values: jax.Array, norms: jax.Array) -> jax.Array:
        levels = jax.vmap(
            lambda sigma, norm: bound(noise=sigma, regression_error=beta, singular_values=values, norm=norm)
        )
        return levels(jnp.asarray(data.noise), norms)

    seen = run.last("regression_error"), run.first("signal_values"), run.last("test_norm")
    return np.asarray(jax.vmap(of_member)(*map(jnp.asarray, seen)))
