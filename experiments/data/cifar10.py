"""Readers of CIFAR-10 in its common forms: binary or Python batches, packed or unpacked, and JPEG files."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from experiments.data.idx import Images, Reader, bytes_of
from experiments.runner.store import InputError

__all__ = ["CIFAR_CLASSES", "PUBLISHED_MD5", "cifar_readers"]

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_SHAPE = (32, 32, 3)
# From https://www.cs.toronto.edu/~kriz/cifar.html and torchvision; there are none for the single .bin files.
PUBLISHED_MD5 = {
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

Decode = Callable[[bytes], Images]


def cifar_readers(md5: Mapping[str, str] = PUBLISHED_MD5) -> tuple[Reader, ...]:
    """Readers of the binary and the Python archive, packed or unpacked, and of a zip of ``split/class/NNNN.jpg``."""
    batches = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    binary, python = [f"{name}.bin" for name in batches], batches
    kinds = (
        ("cifar-10-binary", "cifar-10-batches-bin", binary, _binary_batch),
        ("cifar-10-python", "cifar-10-batches-py", python, _python_batch),
    )
    readers = []
    for kind, inside, names, decode in kinds:
        archive, packed = f"{kind}.tar.gz", [f"{inside}/{name}" for name in names]
        readers.append(Reader(archive, ((archive,),), _from_archive(packed, decode), md5=md5))
        files = tuple((f"{inside}/{name}", name) for name in names)
        readers.append(Reader(f"{kind}, unpacked", files, _from_files(decode), md5=md5))
    jpegs = Reader("JPEG files, compressed again", (("cifar10_jpeg.zip",),), lambda f: _jpegs(*f), published=False)
    return *readers, jpegs


def _from_files(decode: Decode) -> Callable[[Sequence[Path]], tuple[Images, Images]]:
    return lambda paths: _splits([_named(decode, bytes_of(path), str(path)) for path in paths])


def _from_archive(members: Sequence[str], decode: Decode) -> Callable[[Sequence[Path]], tuple[Images, Images]]:
    def read(paths: Sequence[Path]) -> tuple[Images, Images]:
        (path,) = paths
        contents = _members(path, members)
        return _splits([_named(decode, contents[name], f"{path}: {name}") for name in members])

    return read


def _members(path: Path, wanted: Sequence[str]) -> Mapping[str, bytes]:
    try:
        with tarfile.open(path) as archive:
            files = {member.name: archive.extractfile(member) for member in archive if member.name in wanted}
            contents = {name: file.read() for name, file in files.items() if file}
    except Exception as error:  # tarfile and zlib may raise anything on a damaged archive
        raise InputError([f"{path}: cannot be unpacked ({_words(error)})"]) from error
    if missing := [name for name in wanted if name not in contents]:
        raise InputError([f"{path}: lacks {', '.join(missing)}"])
    return contents


def _splits(batches: Sequence[Images]) -> tuple[Images, Images]:
    """The training batches, concatenated, and the test batch, which is the last one."""
    *train, test = batches
    return Images(*(np.concatenate(parts) for parts in zip(*train, strict=True))), test


def _named(decode: Decode, raw: bytes, where: str) -> Images:
    try:
        return decode(raw)
    except Exception as error:  # a damaged or malicious pickle can raise anything
        raise InputError([f"{where}: is not a batch of CIFAR-10 ({_words(error)})"]) from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _damaged(problem: str) -> NoReturn:
    raise ValueError(problem)


def _planes_last(rows: np.ndarray) -> np.ndarray:
    height, width, channels = CIFAR_SHAPE
    return np.ascontiguousarray(rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))


# Batches --------------------------------------------------------------------------------------------------


def _binary_batch(raw: bytes) -> Images:
    """10,000 records: a label and 3072 bytes, which are the red, the green and the blue plane."""
    record = 1 + int(np.prod(CIFAR_SHAPE))
    if not raw or len(raw) % record:
        _damaged(f"{len(raw)} bytes are not a multiple of the {record} bytes of a record")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, record)
    return Images(_planes_last(rows[:, 1:]), rows[:, 0])


def _python_batch(raw: bytes) -> Images:
    """A pickled dictionary with an array of bytes and a list of labels."""
    batch = _BytesOnly(io.BytesIO(raw), encoding="bytes").load()
    pixels, labels = batch[b"data"], batch[b"labels"]
    if not isinstance(pixels, _Array):
        _damaged(f"its pixels are {type(pixels).__name__}, not an array of bytes")
    for label in labels:
        if type(label) is not int or not 0 <= label < len(CIFAR_CLASSES):
            _damaged(f"a label is {label!r:.40}, not one of 0..{len(CIFAR_CLASSES) - 1}")
    return Images(_planes_last(pixels.decoded()), np.array(labels, np.uint8))


class _Array:
    """A placeholder for a pickled array: its description and its bytes."""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.is_fortran, self.raw = state

    def decoded(self) -> np.ndarray:
        """The array; its elements must be unsigned bytes."""
        if not isinstance(self.dtype, _Type) or self.dtype.name not in ("u1", b"u1"):
            _damaged("its pixels are not unsigned bytes")
        flat = np.frombuffer(self.raw, np.uint8)
        return flat.reshape(self.shape, order="F" if self.is_fortran else "C")


class _Type:
    """A placeholder for a pickled dtype."""

    def __init__(self, name: str | bytes, *_: Any):
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        """Ignore the byte order and the rest: they do not matter for bytes."""


class _BytesOnly(pickle.Unpickler):
    """Unpickles plain containers and descriptions of arrays, and executes no code."""

    def find_class(self, module: str, name: str) -> Any:
        """A new placeholder for each of the few names that pickled arrays and bytes need."""
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return lambda *_: _Array()
        if (module, name) == ("numpy", "dtype"):
            return lambda *description: _Type(*description)
        if (module, name) == ("numpy", "ndarray"):
            return "ndarray"
        # Pickle protocols before 3 write bytes like this.
        if (module, name) == ("_codecs", "encode"):
            return lambda text, _: text.encode("latin1")
        msg = f"{module}.{name} is not allowed in a data file"
        raise pickle.UnpicklingError(msg)


# JPEG files -----------------------------------------------------------------------------------------------


def _jpegs(path: Path) -> tuple[Images, Images]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            # A pseudorandom order, from the names, so that the first images of any number contain all classes.
            names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
            train, test = ([name for name in names if name.startswith(f"{split}/")] for split in ("train", "test"))
            return _decoded(archive, train), _decoded(archive, test)
    except Exception as error:  # zipfile and the decoder may raise anything on a damaged archive
        raise InputError([f"{path}: cannot be read ({_words(error)})"]) from error


def _decoded(archive: zipfile.ZipFile, names: Sequence[str]) -> Images:
    from PIL import Image

    images, labels = np.empty((len(names), *CIFAR_SHAPE), np.uint8), np.empty(len(names), np.uint8)
    for i, name in enumerate(names):
        parts = name.split("/")
        if len(parts) != 3 or parts[1] not in CIFAR_CLASSES:
            _damaged(f"{name} is not split/CLASS/NNNN.jpg with a class of CIFAR-10")
        try:
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))))
        except Exception as error:
            _damaged(f"{name}: {_words(error)}")
        if pixels.shape != CIFAR_SHAPE:
            _damaged(f"{name} has shape {pixels.shape}, not {CIFAR_SHAPE}")
        images[i], labels[i] = pixels, CIFAR_CLASSES.index(parts[1])
    return Images(images, labels)
