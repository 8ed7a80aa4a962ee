"""Methods side by side: the step size that is kept, the curves of a known descent, tables and the picture."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from legibility import faults

from benchmarks import small_subspaces, starts, training
from benchmarks.training import Curve, Method, Start, Task
from experiments.runner.legible import make_legible


def curve(method, scores, **changes):
    steps = tuple(10 * i for i in range(np.shape(scores)[1]))
    plain = Curve("task", "SGD", method, 0.1, steps, np.asarray(scores, float), 0.0, 0.01, np.nan)
    return plain._replace(**changes)


def run(validation):
    return training._Run(np.asarray(validation), np.zeros(3), 0.0, 0.0, np.nan)


@pytest.mark.parametrize(("larger_is_better", "kept"), [(True, 0.3), (False, 0.1)])
def test_the_step_size_with_the_best_mean_after_the_start_is_kept(larger_is_better, kept):
    runs = {0.1: run([99.0, 1.0, 1.0]), 0.3: run([0.0, 1.0, 2.0]), 1.0: run([0.0, np.nan, 3.0])}
    assert training.best(runs, larger_is_better) == kept


def test_a_step_size_is_kept_if_none_is_finite():
    assert training.best({0.1: run([0.0, np.nan, 1.0])}, False) == 0.1


def test_a_curve_is_that_of_gradient_descent():
    # x - x* shrinks by 1 - eta in each step on |x - x*|^2 / 2; the best of the grid is eta = 0.5.
    task = Task("quadratic", jnp.ones(3), jnp.ones(3), 2 * jnp.ones(3), lambda _, x: x, larger_is_better=False)

    def loss(trained, frozen, batch):
        return jnp.sum((trained + frozen - batch) ** 2) / 2

    method = Method("descent", lambda seed: Start(jnp.full(3, -1.0 * seed), jnp.zeros(3), 2.0), loss, loss)
    optimizers = {"SGD": (optax.identity(), (0.1, 0.5, 3.0))}
    (found,) = training.raced(task, [method], optimizers, seeds=2, steps=4, every=2)
    assert found[:5] == ("quadratic", "SGD", "descent", 0.5, (0, 2, 4))
    far = np.array([[1 + seed] for seed in range(2)]) * 0.5 ** np.arange(0, 5, 2)[None]
    np.testing.assert_allclose(found.scores, 3 * (far + 1) ** 2 / 2)
    assert found.start_s == 2
    assert found.step_s > 0


def test_a_method_may_have_a_grid_of_its_own():
    task = Task("quadratic", jnp.ones(()), jnp.ones(()), jnp.ones(()), lambda _, x: x, larger_is_better=False)
    loss = lambda trained, _, batch: (trained - batch) ** 2 / 2  # noqa: E731
    method = Method("descent", lambda _: Start(jnp.zeros(()), (), 0.0), loss, loss, (0.25,))
    (found,) = training.raced(task, [method], {"SGD": (optax.identity(), (1.0,))}, seeds=1, steps=1, every=1)
    assert found.step_size == 0.25


def test_a_table_has_scores_at_steps_and_within_the_seconds_of_the_full_network():
    curves = [
        curve("full", [[10, 20, 30], [12, 22, 32]]),
        curve("quick", [[1, 2, 3]], step_s=0.001, start_s=0.05, certified=0.5),
        curve("slow", [[1, 2, 3]], start_s=7.0),
    ]
    (table,) = training.tables(curves, (10, 20), "full", (10,))
    assert table.title == "task, SGD"
    full, quick, slow = table.rows
    assert full == ["full", "0.1", "0", "", "10", "21 (20 to 22)", "31 (30 to 32)", "21 (20 to 22)"]
    assert quick == ["quick", "0.1", "0.05", "50%", "1", "2 (2 to 2)", "3 (3 to 3)", "3 (3 to 3)"]
    assert slow[-1] == "not started"


def test_averages_are_over_tasks_and_seeds_of_the_methods_that_all_tasks_have():
    curves = [
        curve("full", [[10, 20, 30], [12, 22, 32]]),
        curve("full", [[0, 0, 40], [0, 0, 50]], task="other"),
        curve("one task alone", [[1, 2, 3]]),
    ]
    assert training.averages(curves, (20,))[:2] == (["method", "SGD, after 20 steps"], [["full", 38]])


def test_the_picture_can_be_read():
    tasks = ["Fashion-MNIST, from initialization", "digits, adapted"]
    methods = ["full", "head, S_big", "head, random", *(f"{name}, r = {r}" for r in (2, 10) for name in starts.STARTS)]
    curves = [
        curve(
            method, [[10, 20 + i, 40 + 2 * i], [10, 25 + i, 50 + 2 * i]], task=task, optimizer=optimizer, start_s=0.02
        )
        for task in tasks
        for optimizer in small_subspaces.OPTIMIZERS
        for i, method in enumerate(methods)
    ]
    drawn = small_subspaces.figure(curves)
    make_legible(drawn)
    assert faults(drawn) == []
    # Of the fourth method, 3 and 6 points ahead of the first at the two steps.
    np.testing.assert_allclose(drawn.axes[0].lines[0].get_xydata(), [[10, 3], [20, 6]])
    np.testing.assert_allclose(drawn.axes[3].lines[0].get_xydata(), [[2, 0], [2, 0]])
    assert len(drawn.axes) == (len(small_subspaces.COLUMNS) + 1) * len(small_subspaces.OPTIMIZERS)
