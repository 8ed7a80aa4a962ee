"""Steps along a flow dy/dt = field(y): explicit Euler, and an adaptive method between two observation times.

Each maps a state, a pytree of arrays of one dtype, to the state one step later, and can be used as ``Dynamics.step``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lawlib.extras import imports_for
from lawlib.types import Number, PyTree

__all__ = ["adaptive_step", "euler_step"]

Field = Callable[[PyTree], PyTree]


def euler_step(field: Field, state: PyTree, duration: Number) -> PyTree:
    """One step of the explicit Euler method, y + h field(y) with h = duration; its global error is O(h)."""
    return jax.tree.map(lambda y, dy: y + duration * dy, state, field(state))


def adaptive_step(
    field: Field, state: PyTree, duration: Number, *, rtol: float, atol: float, max_steps: int = 4096
) -> PyTree:
    """Follow the flow for ``duration`` >= 0 by the 8th-order method of Dormand and Prince with controlled steps.

    The local error of each step is kept below atol + rtol |y| in the root mean square over the state's entries
    (Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, II.4 and II.5). The result
    is NaN if a value is not finite or more than ``max_steps`` steps are needed.

    Raises:
        ValueError: a tolerance is not positive, or max_steps is not.
        ImportError: diffrax is not installed.
    """
    if min(rtol, atol) <= 0 or max_steps < 1:
        msg = f"rtol, atol and max_steps must be positive, got {rtol}, {atol} and {max_steps}"
        raise ValueError(msg)
    with imports_for("adaptive_step"):
        import diffrax
    dtype = jnp.result_type(*jax.tree.leaves(state))
    # diffrax mixes dtypes and ranks, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        followed = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: field(y)),
            diffrax.Dopri8(),
            t0=jnp.zeros((), dtype),
            t1=jnp.asarray(duration, dtype),
            dt0=None,
            y0=state,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=max_steps,
            throw=False,
        )
    reached = followed.result == diffrax.RESULTS.successful
    return jax.tree.map(lambda y: jnp.where(reached, y[0], jnp.nan), followed.ys)
