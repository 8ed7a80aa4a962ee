"""The landscape of linear networks and the limits of their gradient flow (Eftekhari 2020, Sections 2 and 3).

Three studies. ``convergence``: gradient flow on the factors, compared with the flow that it induces on their product,
from balanced starts in a set and from controls (Theorem 16). ``states``: each step draws another state of rank one and
checks the lemmas on it. ``stationary``: each step builds another stationary point and its Hessian (Theorem 8).
"""

import functools as ft
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number, values
from lawlib.descent.flows import adaptive_step
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time
from lawlib.linalg.curvature import extreme_eigenvalues, hessian_product
from lawlib.networks.deep_linear import end_to_end, imbalances
from lawlib.networks.initializers import balanced_factorization
from lawlib.theory import induced_flow as flow
from lawlib.theory import induced_flow_bounds as bounds
from lawlib.types import Array, Matrix, PRNGKey, Scalar, Vector, Weights

# Starts have s_0 up to so many times (alpha - gamma_Z) s_Z.
FARTHEST = 100.0
# Matrices between layers have singular values in this interval.
GAUGES = 0.5, 2.0
PAPER = "Eftekhari 2020"

VARIABLES = {
    "rescaled_time": Variable((), "1", "x = m s_Z^{2-2/N} t"),
    "distance": Variable((), "1", "||Z_1 - W||_F / s_Z", f"{PAPER}, Lemma 17"),
    "value": Variable((), "1", "s / s_Z, the largest singular value of W", f"{PAPER}, Lemma 15"),
    "alignment": Variable((), "1", "u^T Z_1 v / s_Z", f"{PAPER}, Lemma 23"),
    "in_set": Variable((), "1", "1 where W lies in N_alpha(Z_1)", f"{PAPER}, eq. 119"),
    "beyond": Variable((), "1", "largest singular value of W beyond the rank of W_0, over s_Z", f"{PAPER}, Lemma 11"),
    "drift": Variable((), "1", "largest change of an entry of W_{j+1}^T W_{j+1} - W_j W_j^T", f"{PAPER}, eq. 15"),
    "induced": Variable((), "1", "||W_N ... W_1 - W||_F / s_Z, factors against the induced flow", f"{PAPER}, eq. 17"),
    "operator": Variable((), "1", "largest difference of three forms of A_W(D), over its norm", f"{PAPER}, eq. 173"),
    "loss_slack": Variable((), "1", "(T_1 + s_Z T_2 - L) / (T_1 + s_Z T_2)", f"{PAPER}, eq. 33"),
    "rate_slack": Variable((), "1", "(Lemma 18's bound - dL/dt) / |its largest term|", f"{PAPER}, eq. 35"),
    "turning": Variable((), "1", "d/dx (u^T Z_1 v) / s_Z in N_alpha, at s = s_Z", f"{PAPER}, eq. 155"),
    "from_below": Variable((), "1", "ds/dt / (m s^{2-2/N}) at s = (alpha - gamma_Z) s_Z", f"{PAPER}, eq. 128"),
    "from_above": Variable((), "1", "ds/dt / (m s^{2-2/N}) at s = beta s_Z", f"{PAPER}, eq. 197"),
    "gradient": Variable((), "1", "||grad L_N|| / (m s_Z)", f"{PAPER}, eq. 7"),
    "smallest": Variable(
        (), "1", "smallest eigenvalue of the Hessian over max(|eigenvalue|, m s_Z)", f"{PAPER}, eq. 8"
    ),
    "residual": Variable((), "1", "the residual of that eigenvalue, in the same unit"),
    "excess": Variable((), "1", "(L_N - its global minimum) / (m s_Z^2)", f"{PAPER}, Theorem 8"),
    "rank": Variable((), "1", "rank of W_N ... W_1"),
}


def _flows(config: ConfigDict) -> bool:
    return config.study == "convergence"


FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "study": choice("the theorem or lemmas that the runs are for", "convergence", "states", "stationary"),
    "net.widths": values("widths (d_x, ..., d_y) of the N + 1 layers of units", items="three or more integers >= 1"),
    "data.num_samples": integer("number of samples m", at_least=1),
    "data.scale": number("s_Z, the largest singular value of Z", sweepable=True, above=0.0),
    "data.leading_ratio": number("gamma_Z, the second over the largest singular value", at_least=0.0, below=1.0),
    "start.rank": integer("rank of W_0", at_least=1, when=_flows),
    "start.least": number("least u^T Z_1 v / s_Z", sweepable=True, at_least=-1.0, at_most=1.0, when=_flows),
    "start.spread": number("u^T Z_1 v / s_Z is uniform above start.least", at_least=0.0, at_most=2.0, when=_flows),
    "start.skew": number("factor on W_1, and 1 over that on W_2; 1: balanced", sweepable=True, above=0.0, when=_flows),
    "bound.alpha": number("alpha of N_{alpha,beta}", above=0.0, below=1.0),
    "bound.beta": number("beta of N_{alpha,beta}", above=1.0, when=lambda config: config.study == "states"),
    "opt.interval": number("length of a step in x", above=0.0, when=_flows),
    "opt.rtol": number("relative tolerance of the adaptive solver", above=0.0, when=_flows),
    "opt.atol": number("absolute tolerance of the adaptive solver", above=0.0, when=_flows),
}


class Target(NamedTuple):
    """Z, its best rank-one part, and the numbers that the bounds ask for."""

    Z: Matrix
    leading: flow.RankOne
    numbers: bounds.Target
    key: PRNGKey


class Moving(NamedTuple):
    """The factors, their imbalances at the start, and the product on the induced flow."""

    factors: Weights
    imbalances: tuple[Matrix, ...]
    induced: Matrix


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    config, require = checks.config, checks.require
    widths, data, start = config.net.widths, config.data, config.start
    layered = len(widths) >= 3 and all(type(width) is int and width >= 1 for width in widths)
    require("net.widths", layered, "must be three or more positive sizes (d_x, ..., d_y): depth N >= 2")
    rule = "must be at least d_x = net.widths[0]: whitened inputs have full row rank"
    require("data.num_samples", data.num_samples >= widths[0], rule)
    between = data.leading_ratio < config.bound.alpha
    require("bound.alpha", between, f"must lie in (gamma_Z, 1) = ({data.leading_ratio}, 1)")
    single = data.leading_ratio == 0 or widths[-1] > 1
    require("data.leading_ratio", single, "must be 0.0 for one output: Z then has one singular value")
    if not _flows(config):
        return
    least = min(widths) if layered else 1
    require("start.rank", start.rank <= least, f"must be at most the smallest of net.widths, {least}")
    most = max(checks.values("start.least")) + start.spread
    require("start.spread", most <= 1, f"must make start.least + start.spread, here {most:.4g}, at most 1")


def dynamics(config: ConfigDict) -> Dynamics:
    """The system of the config's study."""
    return {"convergence": _convergence, "states": _states, "stationary": _stationary}[config.study](config)


def _depth(config: ConfigDict) -> int:
    return len(config.net.widths) - 1


def _target(config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters) -> Target:
    """Z with the values s_Z (1, gamma, gamma/2, ...) and uniform singular vectors; whitened data matter by Z alone."""
    key_data, key_own = jax.random.split(key)
    d_x, d_y, dtype = config.net.widths[0], config.net.widths[-1], jnp.dtype(config.precision)
    ratios = [1.0, *(config.data.leading_ratio / 2**i for i in range(min(d_x, d_y) - 1))]
    spectrum = value_of(config, hyperparameters, "data.scale") * jnp.asarray(ratios, dtype)
    U, _, Vt = jnp.linalg.svd(jax.random.normal(key_data, (d_y, d_x), dtype), full_matrices=False)
    Z = (U * spectrum[None]) @ Vt
    leading = flow.rank_one(Z)
    return Target(Z, leading, bounds.Target(leading.value, jnp.asarray(config.data.leading_ratio, dtype)), key_own)


def _drawing(config: ConfigDict, observe: Callable[..., dict[str, Array]]) -> Dynamics:
    """A system without a state: what ``observe`` draws at time t is observed."""

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Target, tuple]:
        return _target(config, key, hyperparameters), ()

    return Dynamics(init, lambda t, state, target, shared: state, observe)


# Theorem 16 -----------------------------------------------------------------------------------------------------------


def _convergence(config: ConfigDict) -> Dynamics:
    m, N, rank = config.data.num_samples, _depth(config), config.start.rank
    follow = ft.partial(adaptive_step, rtol=config.opt.rtol, atol=config.opt.atol)

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Target, Moving]:
        target = _target(config, key, hyperparameters)
        W = _start(config, target, value_of(config, hyperparameters, "start.least"))
        first, *others = balanced_factorization(W, config.net.widths, rank=rank)
        # One layer too large and the next too small by the same factor: the product is the same, but not balanced.
        skew = value_of(config, hyperparameters, "start.skew")
        factors = (skew * first, others[0] / skew, *others[1:])
        return target, Moving(factors, imbalances(factors), W)

    def step(_: Time, state: Moving, target: Target, shared: tuple) -> Moving:
        seconds = config.opt.interval / (m * target.numbers.value ** (2 - 2 / N))

        def induced(W: Matrix) -> Matrix:
            if rank == 1:
                return flow.field(W, target.Z, num_samples=m, depth=N)
            return -m * flow.operator_by_svd(W, W - target.Z, depth=N, rank=rank)

        def both(state: tuple[Weights, Matrix]) -> tuple[Weights, Matrix]:
            return flow.factor_field(state[0], target.Z, m), induced(state[1])

        factors, W = follow(both, (state.factors, state.induced), seconds)
        return state._replace(factors=factors, induced=W)

    def observe(t: Time, state: Moving, target: Target, shared: tuple) -> dict[str, Array]:
        W, numbers = end_to_end(state.factors), target.numbers
        part, values = flow.rank_one(W, target.leading.left), jnp.linalg.svd(W, compute_uv=False)
        alignment = flow.alignment(part, target.leading)
        overlap = numbers.value * alignment
        now = zip(imbalances(state.factors), state.imbalances, strict=True)
        return {
            "rescaled_time": jnp.asarray(t, W.dtype) * config.opt.interval,
            "distance": jnp.linalg.norm(W - flow.matrix(target.leading)) / numbers.value,
            "value": part.value / numbers.value,
            "alignment": alignment,
            "in_set": bounds.in_stable_set(numbers, s=part.value, overlap=overlap, alpha=config.bound.alpha).astype(
                W.dtype
            ),
            "beyond": jnp.max(values[rank:], initial=0.0) / numbers.value,
            "drift": jnp.max(jnp.stack([jnp.max(jnp.abs(after - before)) for after, before in now])),
            "induced": jnp.linalg.norm(W - state.induced) / numbers.value,
        }

    return Dynamics(init, step, observe)


def _start(config: ConfigDict, target: Target, least: Scalar) -> Matrix:
    """W_0 of rank one, its alignment uniform in [least, least + spread]; of a higher rank any Gaussian one."""
    if config.start.rank > 1:
        frames = _normals(target.key, [(config.start.rank, d) for d in target.Z.shape], target.Z.dtype)
        return target.numbers.value * frames[0].T @ frames[1]
    return flow.matrix(_aligned(config, target.key, target, least, config.start.spread))


def _aligned(config: ConfigDict, key: PRNGKey, target: Target, least: Scalar | float, spread: float) -> flow.RankOne:
    """A random s u v^T with u^T Z_1 v / s_Z uniform in [least, least + spread], negative by the sign of v.

    u and v turn by angles of their own: where they turn alike against Z_1, u^T u_Z = -v^T v_Z, the flow stays so and
    ends at a saddle, the second singular component of Z.
    """
    key_size, key_turn = jax.random.split(key)
    (_, u_Z, v_Z), (s_Z, leading_ratio), dtype = target.leading, target.numbers, target.Z.dtype
    along, far, share = jax.random.uniform(key_size, (3,), dtype)
    share = share if u_Z.size > 1 else jnp.zeros_like(share)
    alignment = least + spread * along
    sideways = _normals(key_turn, [u_Z.shape, v_Z.shape], dtype)
    u = _rotate_by(u_Z, jnp.abs(alignment) ** share, sideways[0])
    v = _rotate_by(v_Z, jnp.sign(alignment) * jnp.abs(alignment) ** (1 - share), sideways[1])
    return flow.RankOne((config.bound.alpha - leading_ratio) * s_Z * FARTHEST**far, u, v)


def _rotate_by(x: Vector, cosine: Scalar, sideways: Vector) -> Vector:
    """The unit vector at this cosine from x, towards ``sideways``; a vector of one entry cannot turn."""
    if x.size == 1:
        return x
    across = sideways - jnp.dot(sideways, x) * x
    return cosine * x + jnp.sqrt(1 - cosine**2) * across / jnp.linalg.norm(across)


# Lemmas 18, 19, 22, 23 ------------------------------------------------------------------------------------------------


def _states(config: ConfigDict) -> Dynamics:
    m, N, alpha, beta = config.data.num_samples, _depth(config), config.bound.alpha, config.bound.beta

    def observe(t: Time, state: tuple, target: Target, shared: tuple) -> dict[str, Array]:
        Z, leading, numbers, key = target
        key_draw, key_size, key_inside = jax.random.split(jax.random.fold_in(key, t), 3)
        D, u, v = _normals(key_draw, [Z.shape, *((n,) for n in Z.shape)], Z.dtype)
        far = jax.random.uniform(key_size, (), Z.dtype)
        # Uniform directions, and a value from 0.1 s_Z to 10 s_Z.
        unit_u, unit_v = u / jnp.linalg.norm(u), v / jnp.linalg.norm(v)
        anywhere = flow.RankOne(numbers.value * 10 ** (2 * far - 1), unit_u, unit_v)
        inside = _aligned(config, key_inside, target, alpha, 1 - alpha)._replace(value=numbers.value)
        aligning = ft.partial(flow.alignment, leading=leading)
        _, turning = jax.jvp(aligning, (inside,), (flow.rank_one_field(inside, Z, num_samples=1.0, depth=N),))
        low, high = ((alpha - numbers.ratio) * numbers.value, beta * numbers.value)
        return {
            "operator": _disagreement(anywhere, D, N),
            **_slacks(anywhere, Z, leading, numbers, m, N),
            "turning": turning / numbers.value ** (2 - 2 / N),
            "from_below": _pull(inside, low, Z, N),
            "from_above": _pull(inside, high, Z, N),
        }

    return _drawing(config, observe)


def _disagreement(part: flow.RankOne, D: Matrix, N: int) -> Scalar:
    W = flow.matrix(part)
    closed = flow.operator_of_rank_one(part, D, N)
    others = flow.operator(W, D, depth=N, rank=1), flow.operator_by_svd(W, D, depth=N, rank=1)
    return jnp.max(jnp.stack([jnp.max(jnp.abs(form - closed)) for form in others])) / jnp.linalg.norm(closed)


def _slacks(
    part: flow.RankOne, Z: Matrix, leading: flow.RankOne, numbers: bounds.Target, m: int, N: int
) -> dict[str, Scalar]:
    """What (33) and Lemma 18 leave: dL/dt by its definition (34)."""
    overlap, W = numbers.value * flow.alignment(part, leading), flow.matrix(part)
    loss_bound = bounds.loss_bound(numbers, s=part.value, overlap=overlap)
    rate = -m * jnp.sum((W - flow.matrix(leading)) * flow.operator_of_rank_one(part, W - Z, N))
    rate_bound = bounds.loss_rate_bound(numbers, s=part.value, overlap=overlap, num_samples=m, depth=N)
    T_1, T_2 = bounds.value_error(s=part.value, overlap=overlap), bounds.misalignment(overlap, numbers)
    largest = 2 * m * part.value ** (2 - 2 / N) * jnp.maximum(N * T_1, jnp.abs(overlap) * T_2)
    loss = flow.loss(part, leading)
    return {"loss_slack": (loss_bound - loss) / loss_bound, "rate_slack": (rate_bound - rate) / largest}


def _pull(part: flow.RankOne, s: Scalar, Z: Matrix, N: int) -> Scalar:
    """ds/dt / (m s^{2-2/N}) where the value is s."""
    return flow.rank_one_field(part._replace(value=s), Z, num_samples=1.0, depth=N).value / s ** (2 - 2 / N)


# Theorem 8 ------------------------------------------------------------------------------------------------------------


def _stationary(config: ConfigDict) -> Dynamics:
    widths, m = config.net.widths, config.data.num_samples
    r, q = min(widths), min(widths[0], widths[-1])
    subsets = list(itertools.combinations(range(q), r))
    chosen = jnp.asarray([[float(i in subset) for i in range(q)] for subset in subsets], config.precision)
    shapes = [(out, into) for into, out in itertools.pairwise(widths)]
    squares = [(width, width) for width in widths[1:-1]]
    dimension = sum(map(math.prod, shapes))

    def observe(t: Time, state: tuple, target: Target, shared: tuple) -> dict[str, Array]:
        (U, s, Vt), unit = jnp.linalg.svd(target.Z, full_matrices=False), m * target.numbers.value
        drawn = _normals(jax.random.fold_in(target.key, t), shapes + squares, s.dtype)
        kept = jnp.where(t > 0, chosen[(t - 1) % len(subsets)], 0) * s
        weights = _gauged(drawn[len(shapes) :], balanced_factorization((U * kept[None]) @ Vt, widths, rank=r))
        gradient = jax.grad(flow.factor_loss)(weights, target.Z, m)
        product = hessian_product(flow.factor_loss, weights, target.Z, m)
        found = extreme_eigenvalues(product, tuple(drawn[: len(shapes)]), dimension)
        size = jnp.maximum(jnp.maximum(jnp.abs(found.smallest), jnp.abs(found.largest)), unit)
        least = m / 2 * jnp.sum(jnp.square(s[r:]))
        values = jnp.linalg.svd(end_to_end(weights), compute_uv=False)
        return {
            "gradient": jnp.linalg.norm(ravel_pytree(gradient)[0]) / unit,
            "smallest": found.smallest / size,
            "residual": found.residual_smallest / size,
            "excess": (flow.factor_loss(weights, target.Z, m) - least) / (unit * target.numbers.value),
            "rank": jnp.sum(values > 1e-9 * target.numbers.value).astype(unit.dtype),
        }

    return _drawing(config, observe)


def _gauged(drawn: Sequence[Matrix], weights: Weights) -> Weights:
    """Another stationary point of the same product: G W_j and W_{j+1} G^{-1} at each joint, G of a square draw."""
    layers = list(weights)
    for joint, matrix in enumerate(drawn):
        U, s, Vt = jnp.linalg.svd(matrix)
        values = jnp.clip(s, *GAUGES)
        layers[joint] = (U * values[None]) @ Vt @ layers[joint]
        layers[joint + 1] = layers[joint + 1] @ (Vt.T / values[None]) @ U.T
    return tuple(layers)


def _normals(key: PRNGKey, shapes: Sequence[tuple[int, ...]], dtype: jnp.dtype) -> list[Array]:
    """Gaussian arrays of these shapes, cut from one draw: the generator's code is long and compiled once."""
    sizes = [math.prod(shape) for shape in shapes]
    cut = jnp.split(jax.random.normal(key, (sum(sizes),), dtype), np.cumsum(sizes[:-1]))
    return [part.reshape(shape) for part, shape in zip(cut, shapes, strict=True)]
