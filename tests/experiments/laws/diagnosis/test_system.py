"""The tasks of the diagnosis: starts, a first step and ranks by hand, what is observed by numpy, and a smoke run."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from experiments.laws.diagnosis.system import INITS, OPTIMIZERS, dynamics, shared
from experiments.runner.settings import expand
from lawlib.dynamics.system import simulate

cases = synthetic.cases_of("diagnosis")
STEPS, RATE = 7, 0.1


@ft.cache
def trained():
    """Wine in float64: the system's data, and one member after a step and after some more."""
    words = ("precision='float64'", "net.width=12", "net.ranks=(1, 3)", "opt.batch_size=16", f"opt.sgd={RATE}")
    ((_, config),) = expand(synthetic.config_of("diagnosis", *words, "name='wine'", profile="smoke"))
    data, system = shared(config), dynamics(config)
    run = jax.jit(lambda key, data: simulate(system, key, {}, data, (0, 1, STEPS), keep=(0, 1, STEPS)))
    return data, run(jax.random.key(3), data)


def silu(x):
    return x / (1 + np.exp(-x))


def outputs(weights, x):
    for W in weights[:-1]:
        x = silu(x @ W)
    return x @ weights[-1]


def whole(run, at, optimizer=0, init=0):
    return [np.asarray(W[at, init]) for W in run.kept.state[optimizer].whole.weights]


def change(run, at, optimizer=0, init=0, rank=0):
    """B A of each layer; columns of B beyond the rank are to stay 0."""
    factors = run.kept.state[optimizer].low.weights
    return [np.asarray(B[at, init, rank] @ A[at, init, rank]) for B, A in factors]


def test_features_are_standardized_and_parts_are_disjoint():
    data, run = trained()
    np.testing.assert_allclose(data.inputs.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(data.inputs.std(0), 1)
    parts = [np.asarray(getattr(run.problem, name).inputs) for name in ("train", "held_out", "test")]
    assert [len(part) for part in parts] == [89, 35, 54]
    again = np.concatenate(parts)
    np.testing.assert_array_equal(again[np.lexsort(again.T)], data.inputs[np.lexsort(data.inputs.T)])


def test_starts_have_the_sizes_of_their_initialization_and_are_those_of_all_networks():
    _, run = trained()
    for init, gain in ((1, 2**0.5), (2, 0.5)):
        for W in whole(run, 0, init=init):
            np.testing.assert_allclose(np.linalg.svd(W, compute_uv=False), gain, rtol=1e-12)
    assert list(INITS) == ["normal", "orthogonal", "small"]
    for optimizer in range(len(OPTIMIZERS)):
        for W, start in zip(whole(run, 0, optimizer), run.problem.starts, strict=True):
            np.testing.assert_array_equal(W, start[0])
        assert all(not moved.any() for moved in change(run, 0, optimizer))


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_change_is_the_gradient_step_in_the_leading_right_vectors_of_the_whole_gradient(rank):
    """With B = 0 a step of gradient descent changes B by -eta G A^T, so that B A is the whole step times A^T A."""
    _, run = trained()
    train = run.problem.train
    scores = jax.nn.log_softmax

    def loss(weights):
        *hidden, last = weights
        x = train.inputs
        for W in hidden:
            x = x @ W / (1 + jnp.exp(-x @ W))
        return -jnp.mean(jnp.sum(train.labels * scores(x @ last, axis=1), axis=1))

    gradients = jax.grad(loss)([jnp.asarray(W) for W in whole(run, 0)])
    moved = change(run, 1, rank=rank)
    for G, W, start, D in zip(gradients, whole(run, 1), whole(run, 0), moved, strict=True):
        V = np.linalg.svd(G)[2][: (1, 3)[rank]]
        np.testing.assert_allclose(D, (W - start) @ V.T @ V, atol=1e-12)
        assert np.linalg.norm(D) > 1e-3 * np.linalg.norm(W - start)


def test_changes_keep_their_rank():
    _, run = trained()
    for optimizer in range(len(OPTIMIZERS)):
        for rank, r in enumerate((1, 3)):
            for D in change(run, 2, optimizer, rank=rank):
                s = np.linalg.svd(D, compute_uv=False)
                assert np.all(s[r:] < 1e-12 * s[0])
                assert s[min(r, len(s)) - 1] > 0


def test_what_is_observed_is_what_numpy_finds():
    _, run = trained()
    seen, held, test = run.observations, run.problem.held_out, run.problem.test
    starts, weights = whole(run, 0, 2, 1), whole(run, 2, 2, 1)
    right = lambda own, part: np.mean(outputs(own, part.inputs).argmax(1) == np.argmax(part.labels, axis=1))  # noqa: E731

    def loss(own):
        z = outputs(own, np.asarray(held.inputs))
        return np.mean(np.log(np.exp(z).sum(1)) - np.sum(z * held.labels, axis=1))

    low = [W + D for W, D in zip(starts, change(run, 2, 2, 1, 1), strict=True)]
    np.testing.assert_allclose(seen["accuracy"][2, 2, 1], right(weights, test))
    np.testing.assert_allclose(seen["low_accuracy"][2, 2, 1, 1], right(low, test))
    changes = [np.linalg.svd(W - start, full_matrices=False) for W, start in zip(weights, starts, strict=True)]
    cut = [start + U[:, :1] * s[:1] @ Vt[:1] for start, (U, s, Vt) in zip(starts, changes, strict=True)]
    added = (loss(cut) - loss(weights)) / (loss(starts) - loss(weights))
    np.testing.assert_allclose(seen["cut_loss"][2, 2, 1, 0], added, rtol=1e-6)
    np.testing.assert_allclose(seen["cut_error"][2, 2, 1, 0], right(weights, held) - right(cut, held), atol=1e-12)
    outside = [1 - s[0] ** 2 / np.sum(s**2) for _, s, _ in changes]
    np.testing.assert_allclose(seen["lost_share"][2, 2, 1, 0], np.mean(outside), rtol=1e-6)
    np.testing.assert_allclose(seen["change_rank"][2, 2, 1], np.mean([1 / (1 - x) for x in outside]), rtol=1e-6)
    assert not any(np.any(seen[name][0]) for name in ("cut_loss", "cut_error", "lost_share", "change_rank"))


def test_a_smoke_run_ends_with_a_verdict_on_every_claim_and_draws_both_figures(smoke):
    folder, (code, out, err) = smoke("diagnosis")
    assert code == 0, out + err
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert {claim["id"].partition("[")[0] for claim in claims} == cases.EVERY | {"DG.learns"}
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"losses", "steps"}
