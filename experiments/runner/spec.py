"""What ``--config=FILE[:PROFILE]`` names: a file, a profile, and the folders called after them."""

from pathlib import Path

__all__ = ["TRIAL", "default_workdir", "published_name", "split"]

# The profile that shows whether a config runs at all: its numbers are no evidence, and are not published.
TRIAL = "smoke"


def split(spec: str) -> tuple[Path, str]:
    """The file and the profile of FILE.py[:PROFILE]."""
    name, _, profile = (spec, "", "cpu") if spec.endswith(".py") else spec.rpartition(":")
    return Path(name or spec), profile


def default_workdir(spec: str) -> Path:
    """``runs/NAME-PROFILE`` for a config given as FILE[:PROFILE]."""
    path, profile = split(spec)
    return Path("runs") / f"{path.stem}-{profile}"


def published_name(spec: str) -> str:
    """The folder below figures/ for a config given as FILE[:PROFILE]: NAME, or NAME_PROFILE for other than cpu."""
    path, profile = split(spec)
    return path.stem if profile == "cpu" else f"{path.stem}_{profile}"
