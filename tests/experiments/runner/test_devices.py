"""Settings under which JAX has no device are a line."""

import jax
import pytest

from experiments.runner.devices import problems


def test_there_is_a_device_here():
    assert problems() == []


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_what_jax_raises_is_a_line_with_the_settings(monkeypatch, kind):
    def failing():
        msg = "Unable to initialize backend 'abacus':\n  not in the list"
        raise kind(msg)

    monkeypatch.setattr(jax, "devices", failing)
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("JAX_PLATFORM_NAME", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert problems() == [
        "JAX cannot start (JAX_PLATFORMS=abacus): Unable to initialize backend 'abacus': not in the list; unset what "
        "is wrong, or correct it"
    ]
