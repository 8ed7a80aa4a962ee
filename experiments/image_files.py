"""Image data sets in the files they are published in, read into plain arrays without TensorFlow or torch."""

import gzip
import hashlib
import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.store import Refused

__all__ = ["CIFAR_CLASSES", "Images", "Reader", "cifar_readers", "idx_files"]

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_SHAPE = (32, 32, 3)
# An idx file begins with two zeros, the code of its type (8 is unsigned bytes) and the number of its dimensions.
IDX_BYTES = 8
UNPICKLED = {("numpy", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class Images(NamedTuple):
    """Images (N, height, width, channels) and their classes (N,), both uint8."""

    images: np.ndarray
    labels: np.ndarray


class Reader(NamedTuple):
    """A way in which a data set may lie in a folder: the files it takes, and what makes (train, test) of them.

    ``published`` says that the files hold the published pixels, not a copy that was compressed again.
    """

    name: str
    files: tuple[str, ...]
    read: Callable[[Path], tuple[Images, Images]]
    published: bool


def idx_files(folder: Path, prefix: str) -> Images:
    """The images and labels of ``PREFIX-images-idx3-ubyte`` and ``PREFIX-labels-idx1-ubyte``, gzipped or not.

    Raises:
        Refused: a file is missing, truncated or no idx file of bytes.
    """
    images = _idx(_either(folder, f"{prefix}-images-idx3-ubyte"), 3)
    labels = _idx(_either(folder, f"{prefix}-labels-idx1-ubyte"), 1)
    return Images(images[..., None], labels)


def cifar_readers() -> tuple[Reader, ...]:
    """CIFAR-10 as its binary or Python archive, packed or unpacked, or as a zip of ``split/class/NNNN.jpg``."""
    binary = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    python = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    of_kind = {"cifar-10-binary": (binary, _binary_batch), "cifar-10-python": (python, _python_batch)}
    inside = {"cifar-10-binary": "cifar-10-batches-bin", "cifar-10-python": "cifar-10-batches-py"}
    readers = []
    for kind, (names, decode) in of_kind.items():
        archive, packed = f"{kind}.tar.gz", [f"{inside[kind]}/{name}" for name in names]
        readers.append(Reader(archive, (archive,), _from_archive(archive, packed, decode), published=True))
        for files in (packed, names):
            readers.append(Reader(f"{kind}, unpacked", tuple(files), _from_files(files, decode), published=True))
    zipped = "cifar10_jpeg.zip"
    return *readers, Reader("JPEG files, compressed again", (zipped,), lambda f: _jpegs(f / zipped), published=False)


def _either(folder: Path, name: str) -> Path:
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
    if not found:
        raise Refused([f"{folder}: has neither {name} nor {name}.gz"])
    return found[0]


def _idx(path: Path, dimensions: int) -> np.ndarray:
    raw = _unzipped(path) if path.suffix == ".gz" else path.read_bytes()
    head = 4 + 4 * dimensions
    if len(raw) < head or tuple(raw[:4]) != (0, 0, IDX_BYTES, dimensions):
        raise Refused([f"{path}: is no idx file of unsigned bytes in {dimensions} dimensions"])
    shape = tuple(np.frombuffer(raw[4:head], ">u4").tolist())
    if len(raw) - head != np.prod(shape):
        raise Refused([f"{path}: {len(raw) - head} bytes of data, its head promises {np.prod(shape)} for {shape}"])
    return np.frombuffer(raw[head:], np.uint8).reshape(shape)


def _unzipped(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise Refused([f"{path}: cannot be unzipped ({error})"]) from error


Decode = Callable[[bytes, str], Images]


def _from_files(files: Sequence[str], decode: Decode) -> Callable[[Path], tuple[Images, Images]]:
    return lambda folder: _splits([decode((folder / name).read_bytes(), str(folder / name)) for name in files])


def _from_archive(archive: str, members: Sequence[str], decode: Decode) -> Callable[[Path], tuple[Images, Images]]:
    def read(folder: Path) -> tuple[Images, Images]:
        contents = _members(folder / archive, members)
        return _splits([decode(contents[name], f"{folder / archive}: {name}") for name in members])

    return read


def _members(path: Path, wanted: Sequence[str]) -> Mapping[str, bytes]:
    try:
        with tarfile.open(path) as archive:
            files = {member.name: archive.extractfile(member) for member in archive if member.name in wanted}
            contents = {name: file.read() for name, file in files.items() if file}
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise Refused([f"{path}: cannot be unpacked ({error})"]) from error
    if missing := [name for name in wanted if name not in contents]:
        raise Refused([f"{path}: lacks {', '.join(missing)}"])
    return contents


def _splits(batches: Sequence[Images]) -> tuple[Images, Images]:
    """The training batches one after the other, and the test batch, which is the last."""
    *train, test = batches
    return Images(*(np.concatenate(parts) for parts in zip(*train, strict=True))), test


def _binary_batch(raw: bytes, where: str) -> Images:
    """10,000 records of a label and 3072 bytes, the planes red, green and blue one after the other."""
    record = 1 + int(np.prod(CIFAR_SHAPE))
    if not raw or len(raw) % record:
        raise Refused([f"{where}: {len(raw)} bytes are no whole number of records of {record}"])
    rows = np.frombuffer(raw, np.uint8).reshape(-1, record)
    return Images(_planes_last(rows[:, 1:]), rows[:, 0])


def _python_batch(raw: bytes, where: str) -> Images:
    try:
        batch = _ArraysOnly(io.BytesIO(raw), encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"], np.uint8), np.asarray(batch[b"labels"])
        return Images(_planes_last(data), labels.astype(np.uint8))
    except (pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise Refused([f"{where}: is no batch of CIFAR-10 ({error})"]) from error


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and plain containers, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that pickled arrays and bytes need."""
        if (module.split(".")[0], name) in UNPICKLED:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        msg = f"{module}.{name} is not allowed in a data file"
        raise pickle.UnpicklingError(msg)


def _planes_last(rows: np.ndarray) -> np.ndarray:
    height, width, channels = CIFAR_SHAPE
    return np.ascontiguousarray(rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))


def _jpegs(path: Path) -> tuple[Images, Images]:
    from PIL import Image

    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            # An order of its own, drawn from the names, so that a first part of the images holds all classes.
            names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
            train, test = ([name for name in names if name.startswith(f"{split}/")] for split in ("train", "test"))
            return _decoded(archive, train, Image), _decoded(archive, test, Image)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError) as error:
        raise Refused([f"{path}: cannot be read ({error})"]) from error


def _decoded(archive: zipfile.ZipFile, names: Sequence[str], decoder: Any) -> Images:
    images = np.empty((len(names), *CIFAR_SHAPE), np.uint8)
    for image, name in zip(images, names, strict=True):
        image[:] = np.asarray(decoder.open(io.BytesIO(archive.read(name))))
    return Images(images, np.array([CIFAR_CLASSES.index(name.split("/")[1]) for name in names], np.uint8))
