"""As a script, what ``data_parallel`` gives on four devices, beside the mean loss of one device.

``python -m tests.support.data_parallel_devices FILE`` with XLA_FLAGS=--xla_force_host_platform_device_count=4 writes
the largest difference of each case, relative to the largest value; the collectives of compiled programs; and what was
said where a case was refused.
"""

import functools
import json
import re
import sys
import warnings

import experiments  # noqa: F401  (prepares the process before JAX touches a device)

import jax  # isort: skip
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lawlib.descent.data_parallel import data_parallel

COLLECTIVES = r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
BATCH = 8


def net(weights, inputs):
    """Two layers of a convolution and a head, with a scalar and a vector among the weights."""
    kernel, head, shift, scale = (weights[name] for name in ("kernel", "head", "shift", "scale"))
    x = lax.conv_general_dilated(inputs, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.tanh(x).reshape(len(inputs), -1) @ head * scale + shift[None]


def losses(weights, samples, strength=0.3):
    """A cross-entropy for integer labels, with a penalty that all samples share."""
    logits = jax.nn.log_softmax(net(weights, samples["x"]), axis=1)
    picked = jnp.take_along_axis(logits, samples["label"][:, None], axis=1)[:, 0]
    return jnp.asarray(strength, logits.dtype) * jnp.sum(weights["head"] ** 2) - picked


def dropped(weights, samples):
    """The same with noise on each image, drawn from the sample's own key."""
    noise = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (3, 3, 2)))(samples["key"])
    return losses(weights, samples | {"x": samples["x"] * noise.astype(samples["x"].dtype)})


def looping(weights, samples):
    """A loop whose carry begins as a constant and then varies with the samples."""
    start = jnp.zeros(len(samples["x"]), samples["x"].dtype)
    return lax.scan(lambda total, s: (total + losses(weights, samples, s) ** 2, None), start, jnp.arange(1.0, 4.0))[0]


def normalized(weights, samples):
    return losses(weights, samples | {"x": samples["x"] - jnp.mean(samples["x"], axis=0, keepdims=True)})


def spread(_, x):
    """Squared distances to the mean of the finite part of the batch."""
    return (x - jnp.mean(jnp.where(jnp.isfinite(x), x, 0.0))) ** 2


def sharing_draws(weights, samples, words):
    noise = jax.random.normal(jax.random.wrap_key_data(words), samples["x"].shape, samples["x"].dtype)
    return losses(weights, samples | {"x": samples["x"] + noise})


def along_a_loop(weights, samples):
    """The noise of ``dropped`` from a loop over the samples, each with its key."""
    noise = lax.map(lambda key: jax.random.bernoulli(key, 0.5, (3, 3, 2)), samples["key"])
    return losses(weights, samples | {"x": samples["x"] * noise.astype(samples["x"].dtype)})


def scaled(weights, samples, draw):
    """The losses, each times what ``draw`` makes of the first pixel."""
    first = samples["x"][:, 0, 0, 0]
    return losses(weights, samples) * draw(first)


def drawn(dtype, count=BATCH):
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 3, 2, 4), "head": (36, 5), "shift": (5,), "scale": ()}
    weights = {name: jnp.asarray(rng.normal(size=shape) / 2, dtype) for name, shape in shapes.items()}
    keys = jax.random.split(jax.random.key(5), count)
    images, labels = rng.normal(size=(count, 3, 3, 2)), rng.integers(5, size=count, dtype=np.int32)
    return weights, {"x": jnp.asarray(images, dtype), "label": jnp.asarray(labels), "key": keys}


def mesh_of(shape, names=("samples",), kind=AxisType.Auto):
    devices = np.array(jax.devices()[: np.prod(shape)]).reshape(shape)
    return Mesh(devices, names, axis_types=(kind,) * len(names))


ALL, HALVES, ONE = mesh_of(4), mesh_of((2, 2), ("members", "samples")), mesh_of(1)


def distance(found, expected):
    """The largest difference of two trees of arrays, relative to the largest value of each array."""

    def of(a, b):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        a, b = (np.asarray(x, np.float64) for x in (a, b))
        return float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30))

    return max(jax.tree.leaves(jax.tree.map(of, found, expected)))


def collectives(act, *given):
    return sorted(re.findall(COLLECTIVES, jax.jit(act).lower(*given).compile().as_text()))


# Derivatives and transformations: each makes of a loss a function of the weights and the samples. ------------------


def cubes(tree):
    return sum(jnp.sum(x**3) for x in jax.tree.leaves(tree))


def along(loss):
    """A Hessian-vector product, forward over reverse."""
    return lambda w, s: jax.jvp(lambda w: jax.grad(loss)(w, s), (w,), (jax.tree.map(jnp.cos, w),))[1]


def reverse_twice(loss):
    return jax.grad(lambda w, s: cubes(jax.grad(loss)(w, s)))


def descended(loss):
    def steps(w, s):
        def step(w, _):
            return jax.tree.map(lambda a, b: a - jnp.asarray(0.1, a.dtype) * b, w, jax.grad(loss)(w, s)), None

        return lax.scan(step, w, None, length=5)[0]

    return steps


def in_samples(loss):
    return lambda w, s: jax.grad(lambda x: loss(w, s | {"x": x}))(s["x"])


def over_weights(loss):
    return lambda w, s: jax.vmap(jax.grad(loss), (0, None))(jax.tree.map(lambda x: jnp.stack([x, x + x]), w), s)


def over_batches(loss):
    return lambda w, s: jax.vmap(jax.grad(loss), (None, 0))(w, jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), s))


MAKES = {
    "value": lambda loss: loss,
    "gradient": jax.grad,
    "value and gradient": jax.value_and_grad,
    "forward": lambda loss: lambda w, s: jax.jvp(lambda w: loss(w, s), (w,), (w,)),
    "hessian-vector product": along,
    "reverse over reverse": reverse_twice,
    "third derivative": lambda loss: jax.grad(lambda w, s: cubes(along(loss)(w, s))),
    "derivative in samples": in_samples,
    "vmap over weights": over_weights,
    "vmap over batches": over_batches,
    "descent in a loop": descended,
    "checkpointed": lambda loss: jax.grad(jax.checkpoint(loss)),
}


def derivatives():
    """Every derivative and transformation on four devices, on two of another axis, and on one."""
    found = {}
    for dtype in ("float64", "float32"):
        given = drawn(dtype)
        for name, make in MAKES.items():
            expected = jax.jit(make(lambda *given: jnp.mean(losses(*given))))(*given)
            for where, mesh in {"four": ALL, "two of four": HALVES, "one": ONE}.items():
                if dtype == "float64" or where == "four":
                    act = jax.jit(make(data_parallel(losses, mesh=mesh)))
                    found[f"{name}, {where}, {dtype}"] = distance(act(*given), expected)
    return found


def settings():
    """One gradient, in every setting in which it might be taken."""
    given, found = drawn("float64"), {}
    weights, samples = given
    loss = data_parallel(losses, mesh=ALL)
    expected = jax.grad(lambda *given: jnp.mean(losses(*given)))(*given)

    def note(name, gradient, wanted=expected):
        found[name] = distance(gradient, wanted)

    note("without jit", jax.grad(loss)(*given))
    with jax.set_mesh(ALL):
        note("mesh of the surroundings", jax.jit(jax.grad(data_parallel(losses)))(*given))
    for name, kind in {"auto": AxisType.Auto, "explicit": AxisType.Explicit}.items():
        mesh = mesh_of((2, 2), ("other", "samples"), kind)
        placed = jax.device_put(samples, NamedSharding(mesh, P("other")))
        own = jax.device_put(weights, NamedSharding(mesh, P()))
        note(f"divided over another axis, {name}", jax.jit(jax.grad(data_parallel(losses, mesh=mesh)))(own, placed))
    for name, kind in {"auto": AxisType.Auto, "explicit": AxisType.Explicit}.items():
        mesh = mesh_of(4, kind=kind)
        placed = jax.device_put(samples, NamedSharding(mesh, P("samples")))
        own = jax.device_put(weights, NamedSharding(mesh, P()))
        note(f"divided already, {name}", jax.jit(jax.grad(data_parallel(losses, mesh=mesh)))(own, placed))
    for name, act in {"keys of samples": dropped, "a loop": looping}.items():
        wanted = jax.jit(jax.grad(lambda *given, act=act: jnp.mean(act(*given))))(*given)
        note(name, jax.jit(jax.grad(data_parallel(act, mesh=ALL)))(*given), wanted)
    common = jax.grad(lambda s: jnp.mean(losses(*given, s)))(0.7)
    note("derivative in what is common", jax.jit(jax.grad(lambda s: loss(*given, s)))(0.7), common)
    step = jax.jit(lambda w, s: jax.tree.map(jnp.subtract, w, jax.grad(loss)(w, s)), donate_argnums=0)
    stepped = jax.tree.map(jnp.subtract, weights, expected)
    note("donated buffers", step(jax.tree.map(jnp.copy, weights), samples), stepped)
    half = drawn("float16")
    gradient = jax.jit(jax.grad(loss))(*half)
    assert {x.dtype for x in jax.tree.leaves(gradient)} == {jnp.dtype("float16")}
    wide = jax.tree.map(lambda x: x.astype("float64") if x.dtype == "float16" else x, half)
    exact = jax.grad(lambda *given: jnp.mean(losses(*given)))(*wide)
    note("float16", jax.tree.map(lambda x: x.astype("float64"), gradient), exact)
    return found | {"members in a shard_map": members(check=False)} | typed_settings() | untraced_settings()


def typed_settings():
    """Gradients on meshes whose shardings are types, as ``jax.make_mesh`` makes them."""
    weights, samples = drawn("float64")
    expected = jax.grad(lambda *given: jnp.mean(losses(*given)))(weights, samples)
    mesh, two = mesh_of(4, kind=AxisType.Explicit), mesh_of((2, 2), ("model", "samples"), AxisType.Explicit)
    gradient = jax.grad(data_parallel(losses, mesh=mesh))
    placed = jax.device_put(samples, NamedSharding(mesh, P("samples")))
    cut = weights | {"kernel": jax.device_put(weights["kernel"], NamedSharding(two, P(None, None, None, "model")))}
    return {
        "a default mesh without jit": distance(gradient(weights, samples), expected),
        "a default mesh without jit, divided already": distance(gradient(weights, placed), expected),
        "weights divided over an explicit axis": distance(
            jax.jit(jax.grad(data_parallel(losses, mesh=two)))(cut, samples), expected
        ),
    }


def untraced_settings():
    """Calls in a trace that holds none of the arguments, and draws from a loop over keys."""
    given = drawn("float64")
    loss = data_parallel(losses, mesh=ALL)
    mean = jnp.mean(losses(*given))
    noisy = (jax.jit(jax.grad(act))(*given) for act in (data_parallel(along_a_loop, mesh=ALL), mean_of(dropped)))
    outside = jax.grad(lambda c: data_parallel(lambda *own: c**2 * losses(*own), mesh=ALL)(*given))(2.0)
    return {
        "keys carried by a loop": distance(*noisy),
        "no argument is traced": distance(jax.jit(lambda: loss(*given))(), mean),
        "no argument is traced, a loop": distance(
            lax.scan(lambda c, _: (c, loss(*given)), 0, length=2)[1], jnp.stack([mean, mean])
        ),
        "outside variable": distance(outside, 4 * mean),
    }


def mean_of(act):
    return lambda *given: jnp.mean(act(*given))


def random_draws():
    """Losses under jit with draws that do not come from the samples."""
    weights, samples = drawn("float64")
    key, words = jax.random.key(1), jax.random.PRNGKey(1)

    def bits(key, x):
        return jax.random.bernoulli(key, 0.5, x.shape).astype(x.dtype)

    def scanned(x):
        step = lambda own, x: (jax.random.split(own)[0], x * jax.random.uniform(own))  # noqa: E731
        return lax.scan(step, key, x)[1]

    def repeated(x):
        step = lambda at: (jax.random.split(at[0])[0], at[1] * bits(at[0], x))  # noqa: E731
        return lax.while_loop(lambda at: jnp.all(at[1] > 1), step, (key, x))[1]

    draws = {
        "a key from outside": lambda x: bits(key, x),
        "a key in a branch": lambda x: lax.cond(x[0] > 0, lambda x: bits(key, x), lambda x: x, x),
        "a key in a scan": scanned,
        "a key in a while loop": repeated,
        "a checkpointed key": jax.checkpoint(lambda x: bits(key, x)),
    }
    cases = {name: functools.partial(scaled, draw=draw) for name, draw in draws.items()}
    calls = {
        name: functools.partial(jax.jit(jax.grad(data_parallel(act, mesh=ALL))), weights, samples)
        for name, act in cases.items()
    }
    keyed = data_parallel(lambda w, s: losses(w["own"], s), mesh=ALL)
    return calls | {
        "a key in the weights": lambda: jax.jit(keyed)({"own": weights, "key": key}, samples),
        "common words, jit": lambda: jax.jit(data_parallel(sharing_draws, mesh=ALL))(weights, samples, words),
    }


def passed():
    """What is said of honest losses, some of which are not finite."""
    weights, samples = drawn("float64")
    loss = data_parallel(lambda w, s: losses(w, s) + s["more"], mesh=ALL)
    more = {"a NaN": np.nan, "an infinity": np.inf, "nothing else": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {
            name: refused(lambda x=x: loss(weights, samples | {"more": jnp.zeros(BATCH).at[3].set(x)}))
            for name, x in more.items()
        }


def members(*, check):
    """Four members on two devices each, which descend in a loop that ends at different steps."""
    weights, samples = drawn("float64")
    many = jax.tree.map(lambda x: jnp.stack([x, 2 * x, x / 2, 3 * x]), weights)
    counts = jnp.arange(1, 5)

    def run(loss):
        def one(member):
            start, count = member

            def step(at):
                return at[0] + 1, jax.tree.map(lambda a, b: a - 0.1 * b, at[1], jax.grad(loss)(at[1], samples))

            return lax.while_loop(lambda at: at[0] < count, step, (0, start))[1]

        return lambda *given: lax.map(one, given)

    specs = {"in_specs": P("members"), "out_specs": P("members"), "axis_names": {"members"}, "check_vma": check}
    divided = jax.jit(jax.shard_map(run(data_parallel(losses)), mesh=HALVES, **specs))
    return distance(divided(many, counts), run(lambda *given: jnp.mean(losses(*given)))(many, counts))


def programs():
    """The collectives of compiled programs."""
    given = drawn("float64")
    loss, halves = (data_parallel(losses, mesh=mesh) for mesh in (ALL, HALVES))
    mixed = given[0] | {"shift": given[0]["shift"].astype("float32")}

    def of_mixed(weights, samples):
        return losses(weights | {"shift": weights["shift"].astype("float64")}, samples)

    return {
        "gradient": collectives(jax.grad(loss), *given),
        "gradient, two of four": collectives(jax.grad(halves), *given),
        "value and gradient": collectives(jax.value_and_grad(loss), *given),
        "five steps in a loop": collectives(descended(loss), *given),
        "one device": collectives(jax.grad(data_parallel(losses, mesh=ONE)), *given),
        "two dtypes": collectives(jax.grad(data_parallel(of_mixed, mesh=ALL)), mixed, given[1]),
    }


def refusals():
    """What is said where a batch cannot be divided."""
    weights, samples = drawn("float64")
    loss, words = data_parallel(losses, mesh=ALL), jax.random.key_data(jax.random.key(1))
    whole, ramp = NamedSharding(ALL, P("samples")), jnp.arange(BATCH, dtype=float)
    own = {"mesh": ALL, "in_specs": (P(), P("samples")), "out_specs": P(), "check_vma": False}
    cases = {
        "uneven": lambda: jax.jit(loss)(weights, drawn("float64", 6)[1]),
        "empty": lambda: jax.jit(loss)(weights, drawn("float64", 0)[1]),
        "no array": lambda: loss(weights, {}),
        "a scalar": lambda: loss(weights, samples | {"rate": 0.1}),
        "lengths": lambda: loss(weights, samples | {"label": samples["label"][:4]}),
        "unknown axis": lambda: data_parallel(losses, "batch", ALL)(weights, samples),
        "no mesh": lambda: data_parallel(losses)(weights, samples),
        "its own axis": lambda: jax.shard_map(loss, **own)(weights, jax.device_put(samples, whole)),
        "checked axes": lambda: members(check=True),
        "a mean": lambda: jax.jit(data_parallel(lambda *a: jnp.mean(losses(*a)), mesh=ALL))(weights, samples),
        "a matrix": lambda: jax.jit(data_parallel(lambda w, s: net(w, s["x"]), mesh=ALL))(weights, samples),
        "auxiliary": lambda: jax.jit(data_parallel(lambda *a: (losses(*a), 1.0), mesh=ALL))(weights, samples),
        "a common key": lambda: loss(weights, samples, jax.random.key(0)),
        "statistics": lambda: data_parallel(normalized, mesh=ALL)(weights, samples),
        "common draws": lambda: data_parallel(sharing_draws, mesh=ALL)(weights, samples, words),
        "statistics beside an infinity": lambda: data_parallel(spread, mesh=ALL)({}, ramp.at[3].set(np.inf)),
    } | random_draws()
    return {name: refused(act) for name, act in cases.items()}


def refused(act):
    try:
        act()
    except ValueError as said:
        return str(said)
    return "was not refused"


def main(path):
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    found = {act.__name__: act() for act in (derivatives, settings, programs, refusals, passed)}
    with open(path, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(sys.argv[1])
