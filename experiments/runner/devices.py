"""Whether JAX has a device to run on, which its settings in the environment may deny it."""

import os

__all__ = ["problems"]

SETTINGS = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS")


def problems() -> list[str]:
    """Why nothing can be computed here, as one line; no line if JAX has a device."""
    try:
        import jax

        jax.devices()
    except Exception as error:  # of a wrong setting JAX raises several kinds
        given = ", ".join(f"{name}={os.environ[name]}" for name in SETTINGS if os.environ.get(name))
        said = " ".join(str(error).split())
        return [f"JAX cannot start ({given or 'with its own settings'}): {said}; unset what is wrong, or correct it"]
    return []
