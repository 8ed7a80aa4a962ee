"""Optimizers that commute with rotations, by name, and some that act on single entries."""

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from lawlib.descent.preconditioners import shampoo


def projected(rank, inner):
    """GaLore with its singular vectors in full precision: P inner(P^T G), P the ``rank`` left singular vectors of G."""

    def update(gradients, memory, weights=None):
        del weights
        P = jax.tree.map(lambda G: jnp.linalg.svd(G)[0][:, :rank], gradients)
        short, memory = inner.update(jax.tree.map(lambda P, G: P.T @ G, P, gradients), memory)
        return jax.tree.map(jnp.matmul, P, short), memory

    def init(weights):
        return inner.init(jax.tree.map(lambda W: W[:rank], weights))

    return optax.GradientTransformation(init, update)


EQUIVARIANT = {
    "gradient descent": optax.sgd(0.02),
    "coupled decay": optax.chain(optax.add_decayed_weights(0.3), optax.sgd(0.02, momentum=0.5)),
    "decoupled decay": optax.chain(optax.trace(0.5), optax.add_decayed_weights(0.3), optax.scale(-0.02)),
    "heavy ball": optax.sgd(0.01, momentum=0.8),
    "nesterov": optax.sgd(0.01, momentum=0.8, nesterov=True),
    "clipping": optax.chain(optax.clip_by_global_norm(0.8), optax.sgd(0.1)),
    "trust ratio": optax.lars(0.05, trust_coefficient=0.5),
    "muon": contrib.muon(0.01, weight_decay=0.2),
    "shampoo": shampoo(0.02, start=0.3),
}
# Muon's other options, and what needs the loss, counts steps or depends on the size of the layers.
MORE_EQUIVARIANT = {
    "muon by schatten norm": contrib.muon(0.01, preconditioning="schatten", adaptive=True, consistent_rms=0.2),
    "muon by largest value": contrib.muon(0.01, preconditioning="spectral", ns_coeffs="dion", nesterov=False),
    "clipping by mean square": optax.chain(optax.clip_by_block_rms(0.05), optax.sgd(0.3)),
    "schedule": optax.sgd(optax.cosine_decay_schedule(0.02, 20), momentum=0.5),
    "accumulation": optax.MultiSteps(optax.sgd(0.05, momentum=0.5), every_k_schedule=2).gradient_transformation(),
    "only finite": optax.apply_if_finite(optax.sgd(0.02), 2),
    "polyak": optax.polyak_sgd(max_learning_rate=0.05),
    "momo": contrib.momo(0.02),
    "plateau": optax.chain(optax.sgd(0.02), contrib.reduce_on_plateau(patience=2)),
    "normalized": optax.chain(optax.normalize_by_update_norm(), optax.sgd(0.05)),
    "novograd": optax.novograd(0.02),
    "fromage": optax.fromage(0.02),
    "schedule free": contrib.schedule_free_sgd(0.02),
    "dowg": contrib.dowg(1.0),
    "mechanic": contrib.mechanize(optax.sgd(0.02), s_init=0.1),
    "by layer": optax.multi_transform(
        {"slow": optax.sgd(0.01), "muon": contrib.muon(0.02), "still": optax.set_to_zero()}, ("slow", "muon", "still")
    ),
}
# AdaGrad starts its sums at 0: with those of optax, 0.1, small gradients are hardly rescaled.
OF_ENTRIES = {
    "adam": optax.adam(0.03),
    "rmsprop": optax.rmsprop(0.02),
    "adagrad": optax.adagrad(0.05, initial_accumulator_value=0.0),
    "sign": optax.sign_sgd(0.02),
}
