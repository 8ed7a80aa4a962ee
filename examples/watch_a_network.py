"""Watch a network
===============

Which directions does a layer move in while Adam trains it? The tracker is a part of the optimizer. It follows the ten
leading directions of the layer's change, states a bound on their error, and changes no update.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

from lawlib.tracking import TrackedLeaf, records, tracker

KEY, STEPS = jax.random.key(0), 101
PIXELS, LABELS = map(jnp.asarray, load_digits(return_X_y=True))
X = PIXELS.astype("float32") / 16
START = {"first": jax.random.normal(KEY, (64, 32)) / 8, "last": jax.random.normal(KEY, (32, 10)) / 6}


def loss(params):
    scores = jnp.tanh(X @ params["first"]) @ params["last"]
    return optax.softmax_cross_entropy_with_integer_labels(scores, LABELS).mean()


# %%
# The first layer is picked by its name. Every twenty steps its change since the start is observed. ``of="params"`` says
# that the tracker looks at the parameters; without it, it sees the gradients.

watch = tracker({"first": TrackedLeaf("first", change=True)}, k=10, every=20, num_steps=STEPS, tolerance=0.1)
optimizer = optax.chain(watch.transform(KEY, of="params"), optax.adam(1e-2))


def step(_, held):
    updates, state = optimizer.update(jax.grad(loss)(held[0]), held[1], held[0])
    return optax.apply_updates(held[0], updates), state


TRAINED, STATE = jax.jit(lambda held: jax.lax.fori_loop(0, STEPS, step, held))((START, optimizer.init(START)))

# %%
# The records lie in the optimizer's state. Of 32 directions ten hold nearly all of the change, and from the second
# observation on they are certified: the angle between them and the exact ones is at most ``bound``.

FOUND = records(STATE)["first"]
SHARES = (FOUND.values[1:] ** 2).sum(axis=1) / FOUND.norm[1:] ** 2
for at, share, bound in zip(FOUND.step[1:], SHARES, FOUND.bound[1:], strict=True):
    print(f"step {at}: 10 of 32 directions hold {share:.1%} of the change, error of the angle at most {bound:.1e} rad")
assert FOUND.certified[1:].all()
assert np.all(SHARES > 0.9)

# %%
# The ten singular values over the steps. ``lawlib.tracking.picture`` draws all that was recorded.

plt.semilogy(FOUND.step[1:], FOUND.values[1:], ".-")
plt.gca().set(xlabel="step", ylabel="singular values of the change")
