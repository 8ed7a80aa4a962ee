"""Real data as plain arrays; reading them is the only I/O that an experiment needs.

Fashion-MNIST and CIFAR-10 come from the first of these that is there: a prepared tensorflow-datasets copy; the
published files in a folder, which are then prepared; a download by tensorflow-datasets, where TensorFlow is installed.
"""

import functools as ft
import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.image_files import Images, Reader, cifar_readers, idx_files
from experiments.prepared import read_prepared, write_prepared
from experiments.store import Refused

__all__ = ["DATA_SETS", "ImageData", "Labelled", "digits", "flattened", "image_data"]


class Labelled(NamedTuple):
    """Inputs X (d, N) and one-hot labels Y (K, N); columns are samples."""

    inputs: np.ndarray
    labels: np.ndarray


class ImageData(NamedTuple):
    """A data set of images: its two parts, and in words where it is from and what is known of its contents."""

    train: Images
    test: Images
    origin: str


class DataSet(NamedTuple):
    """What is known of a data set before it is read.

    ``hashes`` are SHA-256 of the published images and labels (train, test), where they are known; ``wanted`` lists
    what the folder may hold, for the reader of an error.
    """

    shape: tuple[int, int, int]
    sizes: tuple[int, int]
    num_classes: int
    hashes: tuple[str, str] | None
    readers: tuple[Reader, ...]
    wanted: tuple[str, ...]
    folders: tuple[str, ...]
    stock: str


FASHION_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


def _fashion_files(zipped: str) -> Reader:
    files = tuple(f"{name}{zipped}" for name in FASHION_FILES)
    return Reader(f"idx files{zipped}", files, lambda f: (idx_files(f, "train"), idx_files(f, "t10k")), published=True)


DATA_SETS = {
    "fashion_mnist": DataSet(
        shape=(28, 28, 1),
        sizes=(60_000, 10_000),
        num_classes=10,
        hashes=(
            "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
            "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
        ),
        readers=(_fashion_files(".gz"), _fashion_files("")),
        wanted=(
            "train-images-idx3-ubyte.gz (26,421,880 bytes as published, 47,040,016 unzipped)",
            "train-labels-idx1-ubyte.gz (29,515; 60,008)",
            "t10k-images-idx3-ubyte.gz (4,422,102; 7,840,016)",
            "t10k-labels-idx1-ubyte.gz (5,148; 10,008)",
            "gzipped or not, or Debian's package dataset-fashion-mnist",
        ),
        folders=("/usr/share/datasets/fashion-mnist",),
        stock="fashion_mnist",
    ),
    "cifar10": DataSet(
        shape=(32, 32, 3),
        sizes=(50_000, 10_000),
        num_classes=10,
        hashes=None,
        readers=cifar_readers(),
        wanted=(
            "cifar-10-binary.tar.gz (170,052,171 bytes, MD5 c32a1d4ab5d03f1284b67883e8d87530)",
            "or cifar-10-python.tar.gz (170,498,071 bytes, MD5 c58f30108f718f92721af3b95e74349a)",
            "or what one of them unpacks to",
            "or cifar10_jpeg.zip, of train/CLASS/NNNN.jpg and test/CLASS/NNNN.jpg",
        ),
        folders=(),
        stock="cifar10",
    ),
}


def digits(dtype: np.dtype) -> Labelled:
    """The 1797 handwritten digits that scikit-learn ships: 8 x 8 pixels scaled to [0, 1], not centred, 10 classes.

    Three pixels are empty in every image, so the inputs have rank 61.
    """
    from sklearn.datasets import load_digits  # a second and more, which a run without digits need not wait for

    pixels, classes = load_digits(return_X_y=True)
    return Labelled((np.asarray(pixels).T / 16).astype(dtype), np.eye(10, dtype=dtype)[:, np.asarray(classes)])


def flattened(part: Images, count: int, pool: int, dtype: np.dtype) -> Labelled:
    """The first images as columns of pixels in [0, 1], not centred, and their ten classes.

    ``pool`` 1 leaves the pixels as they are; otherwise each is the mean of a square of ``pool`` x ``pool`` of them.
    """
    images = part.images[:count]
    squares = images.reshape(count, images.shape[1] // pool, pool, images.shape[2] // pool, pool, -1)
    pixels = squares.mean(axis=(2, 4)) / 255
    return Labelled(pixels.reshape(count, -1).T.astype(dtype), np.eye(10, dtype=dtype)[:, part.labels[:count]])


@ft.lru_cache(maxsize=2)
def image_data(name: str, folder: str = "", data_dir: str = "") -> ImageData:
    """A data set of ``DATA_SETS``, verified, and prepared in ``data_dir`` for the next time.

    ``folder`` holds the published files (default: ``LAWLIB_DATA``, then where a package puts them); ``data_dir`` is
    that of tensorflow-datasets (default: ``TFDS_DATA_DIR``, then ~/tensorflow_datasets).

    Raises:
        Refused: there is none, or what there is is damaged; one line for each thing wrong, and nothing is prepared.
    """
    wanted = DATA_SETS[name]
    prepared = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    # A folder that is named stands before any copy made earlier, of whatever was named then.
    if not folder and (found := read_prepared(_our_name(name), prepared)):
        (train, test), notes = found
        return _verified(name, ImageData(train, test, notes["origin"]), str(prepared), notes)
    for place in _folders(wanted, folder):
        for reader in wanted.readers:
            if all((place / file).exists() for file in reader.files):
                return _prepare(name, place, reader, prepared)
    if not folder and importlib.util.find_spec("tensorflow"):
        return _downloaded(name, prepared)
    raise Refused(_missing(name, wanted, folder, prepared))


def _our_name(name: str) -> str:
    return f"lawlib_{name}"


def _folders(wanted: DataSet, folder: str) -> list[Path]:
    given = folder or os.environ.get("LAWLIB_DATA", "")
    return [Path(place).expanduser() for place in ((given,) if folder else (given, *wanted.folders)) if place]


def _prepare(name: str, place: Path, reader: Reader, prepared: Path) -> ImageData:
    """Read the published files, verify them, and leave a copy."""
    train, test = reader.read(place)
    unverified = "in the published layout, its contents not verified"
    published = "as published" if DATA_SETS[name].hashes else unverified
    kind = published if reader.published else "not the published pixels"
    origin = f"{name} from {reader.name}, {kind}"
    data = _verified(name, ImageData(train, test, origin), str(place), {})
    notes = {"origin": origin, "train": _digest(train), "test": _digest(test)}
    if read_prepared(_our_name(name), prepared) is None:
        write_prepared(_our_name(name), prepared, {"train": train, "test": test}, notes)
    return data


def _downloaded(name: str, prepared: Path) -> ImageData:
    import tensorflow_datasets as tfds

    loaded: Any = tfds.load(DATA_SETS[name].stock, data_dir=prepared, split=["train", "test"], batch_size=-1)
    train, test = (Images(np.asarray(x["image"]), np.asarray(x["label"]).astype(np.uint8)) for x in loaded)
    data = ImageData(train, test, f"{name} downloaded by tensorflow-datasets, as published")
    return _verified(name, data, str(prepared), {})


def _verified(name: str, data: ImageData, where: str, notes: Mapping[str, str]) -> ImageData:
    """The data, if shapes, labels and contents are what they must be."""
    wanted, problems = DATA_SETS[name], []
    known = dict(zip(("train", "test"), wanted.hashes or (), strict=False))
    if "not the published" in data.origin or not known:
        known = {split: notes[split] for split in ("train", "test") if split in notes}
    for split, part, size in zip(("train", "test"), (data.train, data.test), wanted.sizes, strict=True):
        own = _shape_problems(part, (size, *wanted.shape), wanted.num_classes)
        if not own and split in known and _digest(part) != known[split]:
            own = [f"contents have SHA-256 {_digest(part)}, not {known[split]}"]
        problems += [f"{where}: {name}, {split}: {problem}" for problem in own]
    if problems:
        raise Refused(problems)
    return data


def _shape_problems(part: Images, shape: tuple[int, ...], num_classes: int) -> list[str]:
    problems = []
    if part.images.shape != shape:
        problems.append(f"images have shape {part.images.shape}, not {shape}")
    if part.labels.shape != shape[:1]:
        problems.append(f"{part.labels.size} labels, not {shape[0]}")
    elif part.labels.size and part.labels.max() >= num_classes:
        problems.append(f"a label is {part.labels.max()}, outside 0..{num_classes - 1}")
    elif len(set(np.bincount(part.labels, minlength=num_classes))) > 1:
        problems.append(f"the classes have {np.bincount(part.labels).tolist()} images, not equally many")
    return problems


def _digest(part: Images) -> str:
    return hashlib.sha256(part.images.tobytes() + part.labels.tobytes()).hexdigest()


def _missing(name: str, wanted: DataSet, folder: str, prepared: Path) -> list[str]:
    looked = [str(place) for place in _folders(wanted, folder)] or ["no folder (set LAWLIB_DATA, or data.folder)"]
    begun = [
        f"{place}: has {', '.join(there)}, lacks {', '.join(lacking)}"
        for place in _folders(wanted, folder)
        for reader in wanted.readers
        if (there := [file for file in reader.files if (place / file).exists()])
        and (lacking := [file for file in reader.files if file not in there])
    ]
    files = "; ".join(wanted.wanted)
    return [
        *begun,
        f"{name} is not at hand: looked for a copy in {prepared} and for files in {', '.join(looked)}: {files}",
    ]
