"""Adam with less memory
=====================

GaLore keeps the moments of Adam in a small subspace of the gradients. Here its projectors come from a few matrix
products, not from a singular value decomposition, and are renewed when the gradient leaves them.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from sklearn.datasets import load_digits

from lawlib.compress import low_rank_gradients

KEY, STEPS = jax.random.key(0), 60
PIXELS, LABELS = map(jnp.asarray, load_digits(return_X_y=True))
X = PIXELS.astype("float32") / 16
START = {"first": jax.random.normal(KEY, (64, 128)) / 8, "last": jax.random.normal(KEY, (128, 10)) / 12}


def loss(params):
    scores = jnp.tanh(X @ params["first"]) @ params["last"]
    return optax.softmax_cross_entropy_with_integer_labels(scores, LABELS).mean()


# %%
# Any optax transformation goes inside; the step size and weight decay come after it.

GALORE = optax.chain(low_rank_gradients(optax.scale_by_adam(), 8, key=KEY), optax.scale_by_learning_rate(1e-2))


def trained(optimizer):
    def step(held, _):
        value, gradient = jax.value_and_grad(loss)(held[0])
        updates, state = optimizer.update(gradient, held[1], held[0])
        return (optax.apply_updates(held[0], updates), state), value

    return jax.jit(lambda start: jax.lax.scan(step, start, length=STEPS))((START, optimizer.init(START)))


RUNS = {"Adam": trained(optax.adam(1e-2)), "GaLore, rank 8": trained(GALORE)}
for name, (_, curve) in RUNS.items():
    plt.semilogy(curve, label=name)
plt.legend(title="loss over steps")

# %%
# A sixteenth of the moments is kept, at the price of slower progress. The state says how often a projector was renewed.

STATE = RUNS["GaLore, rank 8"][0][1][0]
KEPT, FULL = (sum(x.size for x in jax.tree.leaves(tree)) for tree in (STATE.inner, optax.adam(1.0).init(START)))
REFRESHES = [int(each.refreshes) for each in STATE.projections if each is not None]
print(f"{KEPT} numbers in place of {FULL}; projectors renewed {REFRESHES} times in {STEPS} steps")
assert 10 * KEPT < FULL
assert RUNS["GaLore, rank 8"][1][-1] < RUNS["GaLore, rank 8"][1][0] / 4
assert all(1 <= number < 20 for number in REFRESHES)
