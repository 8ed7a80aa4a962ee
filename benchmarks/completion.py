"""Matrix completion against its rivals: seconds after compilation, and the error on the entries that were not seen.

d = 1000, r = 5, 20% observed, no noise, float32; the target is the best rank-5 part of a Gaussian matrix. Methods are
told r^ = 20 and have 2 r^ = 40 columns, ALS at rank 5 knows the truth. The deep solver, the paths of falling penalties
and the ridge that is picked on held-out entries run as they are; a single ridge, and scale and step of the plain
networks, were set by hand for this problem. At the end small hard cases: a mean, a spread spectrum, noise; "als" is
``complete(method="als")``, told the rank, one less, two more, and the guess. Then made-up ratings 1..5 of 600 users and
300 items, with levels, 5 tastes and noise of 0.8 stars, a tenth for the test: the root mean squared error in stars.
Ridges are absolute, those of paths and grids in units of
||mask . matrix||_2 = 13, from which on the best fit is 0. `python -m benchmarks.completion 3` prints 3 draws.
"""

import functools as ft
import statistics
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.baselines import Completed, Stop, als, leading_svd, network, relative_error, soft_impute
from benchmarks.timing import seconds
from experiments.runner.run import prepare
from lawlib.completion import Completion, entries, predict, solver
from lawlib.completion.entries import UnrecoverableWarning
from lawlib.problems.synthetic import low_rank_target, observation_mask
from lawlib.types import Array, Matrix, PRNGKey

WIDTH, RANK, GUESS, SHARE = 1000, 5, 20, 0.2
DTYPE = jnp.float32
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
PATH = tuple(0.4 * 10 ** (-i / 2) for i in range(8))  # in units of ||mask . matrix||_2, down to 1.3e-4 of it
GRID = (1e-4, 1e-3, 1e-2, 1e-1)  # in the same units, for the ridge that is picked
FACTORS = Stop(tolerance=1e-5, stall=1e-4, max_iterations=200)
# The paper's scale of 1e-3 takes a hundred times the steps; from 0.1 on a full network shows its start in the error.
SCALE, STEP_SIZE, DEPTH = 0.1, 0.01, 3
DESCENT = Stop(tolerance=5e-4, stall=0.0, max_iterations=5000)
# A run of the full network that keeps what decides its steps: eta p sigma^(4/3), eps / sigma^(1/3) and the noise of the
# mask r (1 - p) / (p d), from which p follows at a smaller d.
SMALL_WIDTH, PAPER_SCALE, PAPER_STEP_SIZE = 125, 1e-3, 5e-3
LONG = 20.0  # seconds after which a method is not repeated


class Row(NamedTuple):
    """A method on one draw: seconds with compilation and after it, iterations, both relative errors."""

    first_s: float
    seconds: float
    iterations: int
    observed_error: float
    recovery_error: float


Method = Callable[[PRNGKey, Matrix, Matrix], Completed]


def measure() -> dict[str, float]:
    """Seconds and recovery error of every method on one draw, and ratios to the deep solver where it is one of them."""
    drawn = draw(0, WIDTH, SHARE)
    rows = {name: run(method, *drawn) for name, method in methods().items()}
    measured = {
        f"{name}: {field}": getattr(row, field) for name, row in rows.items() for field in ("seconds", "recovery_error")
    }
    deep, full, untuned = (rows[name] for name in (DEEP, FULL, SMALL_RIDGE))
    ratios = {
        "full / deep, seconds": full.seconds / deep.seconds,
        "ALS at ridge 0.001 / deep, recovery error": untuned.recovery_error / deep.recovery_error,
    }
    steps = steps_at_the_papers_scale()
    return (
        measured
        | ratios
        | hard_cases()
        | ratings(range(3))
        | {
            "full at the paper's scale and step: steps (extrapolated)": steps,
            "full at the paper's scale and step: seconds (extrapolated)": steps * full.seconds / full.iterations,
        }
    )


def hard_cases() -> dict[str, float]:
    """Seconds and relative error over the whole matrix, of ours and of ALS at ridge 0.001 by the rank told."""
    found = told_a_rank()
    for name, (matrix, seen, shown, guess, rank) in _hard().items():
        mask, given = jnp.asarray(seen, DTYPE), jnp.asarray(shown, DTYPE)
        chosen = {
            "deep solver": lambda key, X, mask, guess=guess: _completed(solver.complete(key, (X, mask), guess)),
            "ALS told the rank": _jitted(als, rank, ridges=(RIDGES[0],), stop=FACTORS),
            "ALS at the guess": _jitted(als, guess, ridges=(RIDGES[0],), stop=FACTORS),
        }
        for method, go in chosen.items():
            call = ft.partial(go, jax.random.key(0), given, mask)
            recovered = np.asarray(call().recovered, np.float64)
            found[f"{name}, {method}: seconds"] = statistics.median(seconds(call) for _ in range(3))
            found[f"{name}, {method}: error"] = float(np.linalg.norm(recovered - matrix) / np.linalg.norm(matrix))
    return found


def told_a_rank() -> dict[str, float]:
    """Relative errors of ``complete(method="als")`` over the whole matrix and on the held-out entries, by rank told."""
    found = {}
    for name, (matrix, seen, shown, guess, rank) in _hard().items():
        told = {"the rank less 1": rank - 1, "the rank": rank, "the rank plus 2": rank + 2, "the guess": guess}
        for what, columns in told.items():
            solved = solver.complete(jax.random.key(0), (shown.astype(DTYPE), seen), columns, method="als", dense=True)
            recovered = np.asarray(solved.left, np.float64) @ np.asarray(solved.right, np.float64).T
            found[f"{name}, als told {what}: error"] = float(
                np.linalg.norm(recovered - matrix) / np.linalg.norm(matrix)
            )
            found[f"{name}, als told {what}: held-out error"] = solved.held_out_error
    return found


def ratings(seeds: Iterable[int]) -> dict[str, float]:
    """Root mean squared errors in stars on ratings that were not seen, by the mean, by levels and by both methods."""
    found = {}
    for seed in seeds:
        stars, seen, test = _drawn_ratings(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnrecoverableWarning)
            given = entries.from_mask(stars, seen)
            solved = {
                f"{method}, {columns} columns told": solver.complete(
                    jax.random.key(seed), given, columns, method=method, center="both", dense=True
                )
                for method in solver.METHODS
                for columns in (3, 5, 10)
            }
            guesses = {name: np.asarray(predict(one, *np.nonzero(test))) for name, one in solved.items()}
        guesses["mean"] = np.full(test.sum(), given.values.mean())
        guesses |= {f"levels, shrunk by {by:g} ratings": _shrunk_levels(given, by)[test] for by in (0, 5)}
        found[f"ratings, draw {seed}: users and items without ratings"] = solved["als, 5 columns told"].empty_rows + (
            solved["als, 5 columns told"].empty_columns
        )
        for name, guess in guesses.items():
            missed = np.clip(guess, 1, 5) - stars[test]
            found[f"ratings, draw {seed}, {name}: error"] = float(np.sqrt(np.mean(missed**2)))
    return found


def _drawn_ratings(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole stars, which are seen, and which are for the test: counts with heavy tails, some users without any."""
    rng = np.random.default_rng(seed)
    m, n, tastes = 600, 300, 5
    activity, fame = rng.lognormal(0, 1, m), 1 / np.arange(1, n + 1) ** 0.7
    odds = 0.12 * np.outer(activity / activity.mean(), fame / fame.mean())
    rated, test = rng.random((m, n)) < np.minimum(odds, 0.9), rng.random((m, n)) < 0.1
    rated[:10], rated[:, -5:] = False, False
    score = 3.6 + 0.4 * rng.standard_normal((m, 1)) + 0.5 * rng.standard_normal((1, n))
    score = score + 0.6 * rng.standard_normal((m, tastes)) @ rng.standard_normal((tastes, n)) / tastes**0.5
    stars = np.clip(np.rint(score + 0.8 * rng.standard_normal((m, n))), 1, 5)
    return stars.astype(np.float32), rated & ~test, rated & test


def _shrunk_levels(given: entries.Entries, by: float) -> np.ndarray:
    """mean + a_i + b_j for all, a and b the least squares with a ridge of ``by``, or 0 for a tiny one."""
    rows, columns, (m, n) = given.rows, given.columns, given.shape
    mean, a, b = given.values.mean(), np.zeros(m), np.zeros(n)
    counts = [np.bincount(side, minlength=size) + max(by, 1e-9) for side, size in ((rows, m), (columns, n))]
    for _ in range(50):
        a = np.bincount(rows, given.values - mean - b[columns], m) / counts[0]
        b = np.bincount(columns, given.values - mean - a[rows], n) / counts[1]
    return mean + a[:, None] + b


def _completed(solved: Completion) -> Completed:
    return Completed(solved.left @ solved.right.T, jnp.asarray(solved.steps))


def _hard() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, int, int]]:
    """The matrix, what is seen, what is shown there, the guess of the rank and the rank."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape)

    def low_rank(m: int, n: int, rank: int) -> np.ndarray:
        return normal(m, rank) @ normal(rank, n)

    left, right = (np.linalg.qr(normal(size, 2))[0] for size in (80, 60))
    plain = {
        "10 + rank 3": (10 + low_rank(150, 100, 3), 0.3, 8, 4),
        "mean + rows + columns": (3 + normal(150, 1) + normal(1, 100) + low_rank(150, 100, 2), 0.3, 8, 4),
        "values 50 and 1": (left * np.asarray([50.0, 1.0]) @ right.T, 0.6, 4, 2),
    }
    found = {}
    for name, (matrix, share, guess, rank) in plain.items():
        found[name] = matrix, rng.random(matrix.shape) < share, matrix, guess, rank
    for level in (0.1, 0.5, 1.0):
        matrix = low_rank(300, 200, 5)
        noisy = matrix + level * matrix.std() * normal(300, 200)
        found[f"noise {level:g}"] = matrix, rng.random(matrix.shape) < 0.3, noisy, 10, 5
    return found


DEEP, FULL, SMALL_RIDGE = "deep solver", "full width, plain GD", "ALS rank 40, ridge 0.001"


def methods() -> dict[str, Method]:
    """Every row of the table by name."""
    columns = 2 * GUESS
    found: dict[str, Method] = {DEEP: deep}
    for rank in (RANK, columns):
        found |= {
            f"ALS rank {rank}, ridge {ridge:g}": _jitted(als, rank, ridges=(ridge,), stop=FACTORS) for ridge in RIDGES
        }
        found[f"ALS rank {rank}, falling ridges"] = _along(als, rank)
    random = _jitted(als, columns, ridges=(RIDGES[0],), stop=FACTORS, spectral=False)
    return found | {
        f"ALS rank {columns}, ridge {RIDGES[0]:g}, random start": random,
        f"ALS rank {columns}, ridge picked": picked,
        "SoftImpute, falling penalties": _along(soft_impute, columns),
        "narrow, plain GD": _network(columns),
        FULL: _network(WIDTH),
    }


def deep(key: PRNGKey, matrix: Matrix, mask: Matrix) -> Completed:
    """The deep solver with its defaults, its entries taken in and its matrix formed as part of the time."""
    solved = solver.complete(key, entries.from_mask(matrix, mask), GUESS)
    return Completed(solved.left @ solved.right.T, jnp.asarray(solved.steps))


def picked(key: PRNGKey, matrix: Matrix, mask: Matrix) -> Completed:
    """ALS with the ridge of ``GRID`` that does best on a tenth of the entries, then fitted to all of them."""
    key_split, key = jax.random.split(key)
    held = mask * observation_mask(key_split, mask.shape, 0.1, mask.dtype.type)
    fits = [_grid_fit(key, matrix, mask - held, ridge) for ridge in GRID]
    errors = [float(relative_error(fit.recovered, matrix, held)) for fit in fits]
    last = _grid_fit(key, matrix, mask, GRID[errors.index(min(errors))])
    return Completed(last.recovered, last.iterations + sum(fit.iterations for fit in fits))


def draw(seed: int, width: int, share: float) -> tuple[PRNGKey, Matrix, Matrix]:
    """A key for the method, the target and the mask."""
    key_target, key_mask, key = jax.random.split(jax.random.key(seed), 3)
    matrix = jax.jit(lambda key: low_rank_target(key, (width, width), RANK, DTYPE))(key_target)
    return key, matrix, observation_mask(key_mask, (width, width), share, DTYPE)


def run(method: Method, key: PRNGKey, matrix: Matrix, mask: Matrix) -> Row:
    """Run a method once for the errors, and three times more for its time, or once where it takes ``LONG``."""
    kept: list[Completed] = []
    first = seconds(lambda: kept.append(method(key, matrix, mask)) or kept[-1])
    again = [seconds(lambda: method(key, matrix, mask)) for _ in range(1 if first > LONG else 3)]
    recovered, iterations = kept[-1]
    errors = (float(relative_error(recovered, matrix, seen)) for seen in (mask, 1 - mask))
    return Row(first, statistics.median(again), int(iterations), *errors)


def steps_at_the_papers_scale() -> int:
    """Steps of the full network at eps = 1e-3, eta = 0.005, by the equivalent run at ``SMALL_WIDTH``."""
    share = 1 / (1 + (1 - SHARE) / SHARE * SMALL_WIDTH / WIDTH)
    key, matrix, mask = draw(0, SMALL_WIDTH, share)
    # The leading value of the target, about 2 sqrt(d), in units of the large one's.
    ratio = (SMALL_WIDTH / WIDTH) ** 0.5
    scale, step_size = PAPER_SCALE * ratio ** (1 / 3), PAPER_STEP_SIZE * SHARE / share / ratio ** (4 / 3)
    stop = DESCENT._replace(max_iterations=100_000)
    go = ft.partial(network, rank=SMALL_WIDTH, depth=DEPTH, scale=scale, step_size=step_size, stop=stop)
    return int(jax.jit(go)(key, matrix, mask).iterations)


def _jitted(method: Callable, rank: int, *, ridges: tuple[float, ...], **settings: object) -> Method:
    return jax.jit(ft.partial(method, rank=rank, ridges=jnp.asarray(ridges, DTYPE), **settings))


def _along(method: Callable, rank: int) -> Method:
    name = "ridges" if method is als else "penalties"

    def along(key: PRNGKey, matrix: Matrix, mask: Matrix) -> Completed:
        path = _unit(key, matrix, mask) * jnp.asarray(PATH, DTYPE)
        return method(key, matrix, mask, rank, stop=FACTORS, **{name: path})

    return jax.jit(along)


@jax.jit
def _grid_fit(key: PRNGKey, matrix: Matrix, mask: Matrix, share: float) -> Completed:
    ridges = share * _unit(key, matrix, mask)[None]
    return als(key, matrix, mask, 2 * GUESS, ridges=ridges, stop=FACTORS)


def _unit(key: PRNGKey, matrix: Matrix, mask: Matrix) -> Array:
    return leading_svd(key, mask * matrix, 1 + RANK).values[0]


def _network(width: int) -> Method:
    return jax.jit(ft.partial(network, rank=width, depth=DEPTH, scale=SCALE, step_size=STEP_SIZE, stop=DESCENT))


def main(num_draws: int) -> None:
    """Print a table for each draw of target and mask."""
    prepare()
    chosen = methods()
    for seed in range(num_draws):
        drawn = draw(seed, WIDTH, SHARE)
        print(f"\nDraw {seed}\n\n| method | with compilation, s | s | iterations | observed | not observed |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, method in chosen.items():
            print(f"| {name} | {' | '.join(f'{x:.3g}' for x in run(method, *drawn))} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
