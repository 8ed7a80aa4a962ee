"""Real data as plain arrays; reading them is the only I/O that an experiment needs.

Fashion-MNIST and CIFAR-10 are looked for in this order:

1. a copy that lawlib prepared earlier, in the format of tensorflow-datasets;
2. the published files in a folder, from which that copy is then prepared;
3. a copy that tensorflow-datasets itself prepared.

All three are searched first for the published contents, then for unverified contents in the published layout, then for
recompressed pixels. If nothing is found, tensorflow-datasets downloads the data set, provided that TensorFlow is
installed. A damaged copy or file is an error; it is never skipped. lawlib keeps the first copy of each kind until it is
deleted.
"""

import functools as ft
import hashlib
import importlib.util
import itertools
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.data.cifar10 import cifar_readers
from experiments.data.idx import Images, Reader, check_md5, idx_images, in_bytes, located
from experiments.data.tfds_copies import NEEDED, ORIGIN, SPLITS, read_prepared, read_stock, unread_stock, write_prepared
from experiments.runner import extras
from experiments.runner.store import InputError

__all__ = ["DATA_SETS", "ImageData", "Labelled", "digits", "flattened", "image_data"]


class Labelled(NamedTuple):
    """Inputs X (d, N) and one-hot labels Y (K, N); columns are samples."""

    inputs: np.ndarray
    labels: np.ndarray


class ImageData(NamedTuple):
    """A data set of images: its two parts, and a text on its origin and on what is known about its contents."""

    train: Images
    test: Images
    origin: str


class DataSet(NamedTuple):
    """What is known about a data set before it is read.

    ``hashes`` are the SHA-256 of the published images and labels (train, test), if they are known. ``any_order`` are
    hashes of the same images that do not depend on their order. ``wanted`` lists the files that the folder may hold, as
    error messages quote it. ``stock`` is its name in tensorflow-datasets.
    """

    shape: tuple[int, int, int]
    sizes: tuple[int, int]
    num_classes: int
    hashes: tuple[str, str] | None
    any_order: tuple[str, str] | None
    readers: tuple[Reader, ...]
    wanted: tuple[str, ...]
    folders: tuple[str, ...]
    stock: str


# What is known about the contents, the best first, and the suffix of the name of the copy that lawlib prepares.
AS_PUBLISHED = "as published"
UNVERIFIED = "in the published layout, its contents not verified"
RECOMPRESSED = "not the published pixels"
KINDS = {AS_PUBLISHED: "", UNVERIFIED: "_unverified", RECOMPRESSED: "_recompressed"}
FASHION_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


def _idx_reader(names: Sequence[str]) -> Reader:
    """Images and labels of the training part, then of the test part, each file gzipped or not."""
    files = tuple((f"{name}.gz", name) for name in names)
    return Reader("idx files", files, lambda paths: (idx_images(*paths[:2]), idx_images(*paths[2:])))


DATA_SETS = {
    "fashion_mnist": DataSet(
        shape=(28, 28, 1),
        sizes=(60_000, 10_000),
        num_classes=10,
        hashes=(
            "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
            "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
        ),
        any_order=(
            "fb88a2f5c1b590c907f860b47803d006e4fa7b276cdb551799af9d443accdff7",
            "0b381379398a0943a88bf3864ff3f5177903dcf178030b4b74c495294b38fa7c",
        ),
        readers=(_idx_reader(FASHION_FILES),),
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
        any_order=None,
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
    """The 1797 handwritten digits of scikit-learn: 8 x 8 pixels scaled to [0, 1], not centred, 10 classes.

    Three pixels are empty in every image, so the inputs have rank 61.
    """
    from sklearn.datasets import load_digits  # takes more than a second, which a run without digits can save

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
    """Read and verify a data set of ``DATA_SETS``, and prepare a copy in ``data_dir`` for the next time.

    ``folder`` holds the published files (default: ``LAWLIB_DATA``, then the folder of Debian's package). ``data_dir``
    is the folder of tensorflow-datasets (default: ``TFDS_DATA_DIR``, then ~/tensorflow_datasets).

    Raises:
        InputError: The data set is missing or damaged, one line for each problem, or a package is missing; nothing is
            prepared.
    """
    if problems := extras.problems(f"reading {name}", "data", NEEDED):
        raise InputError(problems)
    wanted = DATA_SETS[name]
    prepared = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    for kind, found in itertools.product(KINDS, (_kept, _given, _of_stock)):
        if data := found(name, kind, folder, prepared):
            if kind != AS_PUBLISHED and (begun := _begun(wanted, folder)):
                warnings.warn(f"{'; '.join(begun)}; {data.origin} is read instead", stacklevel=2)
            return data
    if not folder and (images := _downloaded(name, prepared)):
        return _shuffled(name, images, prepared)
    raise InputError(_missing(name, wanted, folder, prepared))


def _kept(name: str, kind: str, folder: str, prepared: Path) -> ImageData | None:
    """The copy that lawlib prepared, unless a folder is given: an earlier copy may come from another folder."""
    found = None if folder else read_prepared(_our_name(name, kind), prepared)
    if found is None:
        return None
    images, notes = found
    known = DATA_SETS[name].hashes or tuple(notes[split] for split in SPLITS)
    return _verified(name, images, notes[ORIGIN], str(prepared), known)


def _given(name: str, kind: str, folder: str, prepared: Path) -> ImageData | None:
    """The data set from the published files in a folder, if they are of this kind."""
    wanted = DATA_SETS[name]
    for place in _folders(wanted, folder):
        for reader in wanted.readers:
            paths = [path for path in located(reader, place) if path]
            if len(paths) == len(reader.files) and _kind(wanted, reader, paths) == kind:
                return _prepare(name, kind, reader, paths, prepared)
    return None


def _of_stock(name: str, kind: str, folder: str, prepared: Path) -> ImageData | None:
    """The copy that tensorflow-datasets itself prepared."""
    wanted = DATA_SETS[name]
    best = AS_PUBLISHED if wanted.any_order else UNVERIFIED
    images = None if folder or kind != best else read_stock(wanted.stock, prepared)
    return _shuffled(name, images, prepared) if images else None


def _shuffled(name: str, images: tuple[Images, Images], prepared: Path) -> ImageData:
    """The data set as tensorflow-datasets prepares it, in an order of its own."""
    any_order = DATA_SETS[name].any_order
    reported = f"{AS_PUBLISHED} but for their order" if any_order else _with_digests(UNVERIFIED, images)
    origin = f"{name} of tensorflow-datasets, {reported}"
    return _verified(name, images, origin, str(prepared), any_order, _unordered)


def _our_name(name: str, kind: str) -> str:
    return f"lawlib_{name}{KINDS[kind]}"


def _folders(wanted: DataSet, folder: str) -> list[Path]:
    given = folder or os.environ.get("LAWLIB_DATA", "")
    return [Path(place).expanduser() for place in ((given,) if folder else (given, *wanted.folders)) if place]


def _kind(wanted: DataSet, reader: Reader, paths: Sequence[Path]) -> str:
    """What is known about the contents of these files if reading them finds no problem."""
    if not reader.published:
        return RECOMPRESSED
    return AS_PUBLISHED if wanted.hashes or all(path.name in reader.md5 for path in paths) else UNVERIFIED


def _with_digests(kind: str, images: tuple[Images, Images]) -> str:
    """The kind with digests of the pixels, which identify contents that cannot be verified."""
    return f"{kind}, SHA-256 {' and '.join(_digest(part)[:12] for part in images)}"


def _prepare(name: str, kind: str, reader: Reader, paths: Sequence[Path], prepared: Path) -> ImageData:
    """Read the published files, verify them, and prepare a copy."""
    check_md5(reader, paths)
    images = reader.read(paths)
    reported = kind if kind == AS_PUBLISHED else _with_digests(kind, images)
    hashes = DATA_SETS[name].hashes if reader.published else None
    data = _verified(name, images, f"{name} from {reader.name}, {reported}", str(paths[0].parent), hashes)
    notes = {ORIGIN: data.origin} | dict(zip(SPLITS, map(_digest, images), strict=True))
    write_prepared(_our_name(name, kind), prepared, dict(zip(SPLITS, images, strict=True)), notes)
    return data


def _downloaded(name: str, prepared: Path) -> tuple[Images, Images] | None:
    """The images that tensorflow-datasets downloads, or None without TensorFlow, which its builders need."""
    if not importlib.util.find_spec("tensorflow"):
        return None
    import tensorflow_datasets as tfds

    try:
        loaded: Any = tfds.load(DATA_SETS[name].stock, data_dir=prepared, split=list(SPLITS), batch_size=-1)
        train, test = (in_bytes(np.asarray(x["image"]), np.asarray(x["label"])) for x in loaded)
    except Exception as error:  # the network, the disk and the builder may raise anything
        problem = f"tensorflow-datasets cannot download {name} ({str(error).strip() or type(error).__name__})"
        raise InputError([problem.splitlines()[0], *_missing(name, DATA_SETS[name], "", prepared)]) from error
    return train, test


def _digest(part: Images) -> str:
    return hashlib.sha256(part.images.tobytes() + part.labels.tobytes()).hexdigest()


def _unordered(part: Images) -> str:
    """A digest that does not depend on the order of the images: tensorflow-datasets shuffles its copies."""
    each = (image.tobytes() + label.tobytes() for image, label in zip(*part, strict=True))
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(one).digest() for one in each))).hexdigest()


def _verified(
    name: str,
    images: tuple[Images, Images],
    origin: str,
    where: str,
    known: Sequence[str] | None,
    digest: Callable[[Images], str] = _digest,
) -> ImageData:
    """The data, after checking shapes, labels and the digests of the contents, if these are ``known``."""
    wanted, problems = DATA_SETS[name], []
    for split, part, size, published in zip(SPLITS, images, wanted.sizes, known or ("", ""), strict=True):
        own = _shape_problems(part, (size, *wanted.shape), wanted.num_classes)
        if not own and published and digest(part) != published:
            own = [f"contents have SHA-256 {digest(part)}, not {published}"]
        problems += [f"{where}: {name}, {split}: {problem}" for problem in own]
    if problems:
        raise InputError(problems)
    return ImageData(*images, origin)


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


def _missing(name: str, wanted: DataSet, folder: str, prepared: Path) -> list[str]:
    searched = ", ".join(map(str, _folders(wanted, folder))) or "no folder (set LAWLIB_DATA or data.folder)"
    copies = "" if folder else f"a copy in {prepared} and for "
    older = [] if folder else sorted(prepared.glob(f"{_our_name(name, AS_PUBLISHED)}*/*"))
    unread = [f"{copy}: was prepared by an earlier version and is not read any more; delete it" for copy in older]
    unread += [] if folder else unread_stock(wanted.stock, prepared)
    files = "; ".join(wanted.wanted)
    reported = f"{name} was not found; searched for {copies}files in {searched}: {files}"
    return [*_begun(wanted, folder), *unread, reported]


def _begun(wanted: DataSet, folder: str) -> list[str]:
    """A line for each incomplete set of files: which exist, and which are missing."""
    lines = []
    for place, reader in itertools.product(_folders(wanted, folder), wanted.readers):
        paths = located(reader, place)
        there = [path.name for path in paths if path]
        lacking = [" or ".join(names) for names, path in zip(reader.files, paths, strict=True) if path is None]
        if there and lacking:
            lines.append(f"{place}: has {', '.join(there)}, lacks {', '.join(lacking)}")
    return lines
