"""Readers of published image files: the idx format, and what all readers share; no TensorFlow and no torch."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.runner.store import InputError

__all__ = ["Images", "Reader", "bytes_of", "check_md5", "idx_images", "in_bytes", "located"]

# An idx file begins with two zeros, the code of its type (8: unsigned bytes) and the number of its dimensions.
IDX_BYTES = 8


class Images(NamedTuple):
    """Images (N, height, width, channels) and their classes (N,), both uint8."""

    images: np.ndarray
    labels: np.ndarray


def in_bytes(images: np.ndarray, labels: np.ndarray) -> Images:
    """Convert images and labels to uint8.

    Raises:
        ValueError: A value is not an integer from 0 to 255.
    """
    parts = Images(images.astype(np.uint8), labels.astype(np.uint8))
    if not all(np.array_equal(part, given) for part, given in zip(parts, (images, labels), strict=True)):
        msg = f"images and labels must be integers from 0 to 255, got {images.dtype} and {labels.dtype}"
        raise ValueError(msg)
    return parts


class Reader(NamedTuple):
    """One form in which a folder may hold a data set.

    ``files`` has for each file the names that it may have, in the order in which they are tried; ``read`` turns the
    paths into (train, test). ``published`` is True if the files hold the published pixels, and False for a recompressed
    copy. ``md5`` are the publisher's checksums by file name, if there are any.
    """

    name: str
    files: tuple[tuple[str, ...], ...]
    read: Callable[[Sequence[Path]], tuple[Images, Images]]
    published: bool = True
    md5: Mapping[str, str] = {}


def located(reader: Reader, folder: Path) -> list[Path | None]:
    """The path of each file in a folder, None for a file that is missing."""
    return [next((folder / name for name in names if (folder / name).exists()), None) for names in reader.files]


def bytes_of(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError([f"{path}: cannot be read ({error.strerror})"]) from error


def check_md5(reader: Reader, paths: Sequence[Path]) -> None:
    """Compare files with their publisher's checksums, where these exist.

    Raises:
        InputError: Files cannot be read or have another checksum; one line for each.
    """
    problems = []
    for path in (path for path in paths if path.name in reader.md5):
        published = reader.md5[path.name]
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror})")
            continue
        if found != published:
            problems.append(f"{path}: is truncated or altered: its MD5 is {found}, but {published} was published")
    if problems:
        raise InputError(problems)


def idx_images(images: Path, labels: Path) -> Images:
    """The images in one idx file and their labels in another, gzipped or not.

    Raises:
        InputError: A file is truncated, or is not an idx file of bytes.
    """
    return Images(_idx(images, 3)[..., None], _idx(labels, 1))


def _idx(path: Path, dimensions: int) -> np.ndarray:
    raw = _unzipped(path) if path.suffix == ".gz" else bytes_of(path)
    head = 4 + 4 * dimensions
    if len(raw) < head or tuple(raw[:4]) != (0, 0, IDX_BYTES, dimensions):
        raise InputError([f"{path}: is not an idx file of unsigned bytes in {dimensions} dimensions"])
    shape = tuple(np.frombuffer(raw[4:head], ">u4").tolist())
    if len(raw) - head != np.prod(shape):
        problem = f"has {len(raw) - head} bytes of data, but its header announces {np.prod(shape)} for {shape}"
        raise InputError([f"{path}: {problem}"])
    return np.frombuffer(raw[head:], np.uint8).reshape(shape)


def _unzipped(path: Path) -> bytes:
    packed = bytes_of(path)
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError([f"{path}: cannot be unzipped ({error})"]) from error
