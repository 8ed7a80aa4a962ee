"""Data sets of images: every published form gives the same arrays, damage is named, and a copy is left once."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments import datasets
from experiments.datasets import DATA_SETS, image_data
from experiments.image_files import CIFAR_CLASSES, Images
from experiments.store import Refused

FASHION = DATA_SETS["fashion_mnist"]


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch):
    """No folder of this machine, no copy in memory."""
    monkeypatch.delenv("LAWLIB_DATA", raising=False)
    image_data.cache_clear()
    yield
    image_data.cache_clear()


def drawn(size, shape, seed=0):
    rng = np.random.default_rng(seed)
    return Images(rng.integers(0, 256, (size, *shape), np.uint8), np.tile(np.arange(10, dtype=np.uint8), size // 10))


# Fashion-MNIST --------------------------------------------------------------------------------------------

SMALL = {"train": drawn(40, (28, 28, 1), 1), "t10k": drawn(20, (28, 28, 1), 2)}


@pytest.fixture
def small_fashion(monkeypatch):
    hashes = tuple(datasets._digest(part) for part in SMALL.values())
    small = FASHION._replace(sizes=(40, 20), hashes=hashes, folders=())
    monkeypatch.setitem(DATA_SETS, "fashion_mnist", small)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, parts=SMALL, pack=gzip.compress, suffix=".gz"):
    folder.mkdir(exist_ok=True)
    for prefix, part in parts.items():
        (folder / f"{prefix}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(part.images[..., 0])))
        (folder / f"{prefix}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(part.labels)))
    return str(folder)


def assert_same(found, train, test):
    for part, wanted in ((found.train, train), (found.test, test)):
        np.testing.assert_array_equal(part.images, wanted.images)
        np.testing.assert_array_equal(part.labels, wanted.labels)


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bytes, "")])
def test_idx_files_are_read_and_a_copy_serves_the_next_time(tmp_path, small_fashion, pack, suffix):
    folder, copy = write_idx(tmp_path / "raw", pack=pack, suffix=suffix), str(tmp_path / "copy")
    first = image_data("fashion_mnist", folder, copy)
    assert_same(first, SMALL["train"], SMALL["t10k"])
    assert first.origin == f"fashion_mnist from idx files{suffix}, as published"
    image_data.cache_clear()
    again = image_data("fashion_mnist", data_dir=copy)
    assert_same(again, SMALL["train"], SMALL["t10k"])
    assert again.origin == first.origin


def truncated(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5]))


def cut(folder):
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])


def altered(folder):
    images = SMALL["train"].images.copy()
    images[3, 5, 5] ^= 1
    write_idx(folder, {"train": Images(images, SMALL["train"].labels)})


def mislabelled(folder):
    labels = np.where(SMALL["train"].labels == 9, 11, SMALL["train"].labels).astype(np.uint8)
    write_idx(folder, {"train": Images(SMALL["train"].images, labels)})


def swapped(folder):
    labels = SMALL["train"].labels.copy()
    labels[[0, 1]] = 1
    write_idx(folder, {"train": Images(SMALL["train"].images, labels)})


def shortened(folder):
    write_idx(folder, {"train": Images(*(x[:-10] for x in SMALL["train"]))})


def another(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"no idx file at all"))


def half(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()


DAMAGE = {
    truncated: "31355 bytes of data, its head promises 31360",
    cut: "cannot be unzipped",
    altered: "contents have SHA-256",
    mislabelled: "a label is 11, outside 0..9",
    swapped: "not equally many",
    shortened: r"images have shape \(30, 28, 28, 1\), not \(40, 28, 28, 1\)",
    another: "is no idx file of unsigned bytes in 1 dimensions",
    half: "lacks t10k-labels-idx1-ubyte.gz",
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_damage_is_named_and_nothing_is_kept(tmp_path, small_fashion, damage, words):
    write_idx(tmp_path / "raw")
    damage(tmp_path / "raw")
    with pytest.raises(Refused, match=words):
        image_data("fashion_mnist", str(tmp_path / "raw"), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_a_copy_that_rotted_is_refused(tmp_path, small_fashion):
    copy = tmp_path / "copy"
    image_data("fashion_mnist", write_idx(tmp_path / "raw"), str(copy))
    image_data.cache_clear()
    (record,) = copy.rglob("*train.array_record*")
    raw = bytearray(record.read_bytes())
    at = raw.find(SMALL["train"].images[0].tobytes()[:64])
    raw[max(at, 2000)] ^= 1
    record.write_bytes(raw)
    with pytest.raises(Refused, match=r"SHA-256|cannot be read .* delete it to prepare it anew"):
        image_data("fashion_mnist", data_dir=str(copy))


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: os.truncate(path, path.stat().st_size // 2)])
def test_a_copy_that_is_not_whole_is_refused(tmp_path, small_fashion, harm):
    copy = tmp_path / "copy"
    image_data("fashion_mnist", write_idx(tmp_path / "raw"), str(copy))
    image_data.cache_clear()
    (record,) = copy.rglob("*train.array_record*")
    harm(record)
    with pytest.raises(Refused, match=r"cannot be read .* delete it to prepare it anew"):
        image_data("fashion_mnist", data_dir=str(copy))


def test_what_is_wanted_is_listed_where_nothing_is_at_hand(tmp_path, small_fashion):
    with pytest.raises(Refused, match=r"fashion_mnist is not at hand.*train-images-idx3-ubyte\.gz \(26,421,880"):
        image_data("fashion_mnist", str(tmp_path), str(tmp_path))


def test_the_published_fashion_mnist(fashion_mnist):
    assert fashion_mnist.train.images.shape == (60_000, 28, 28, 1)
    assert fashion_mnist.origin.endswith("as published")
    # The mean and spread of its pixels, to which the paper's networks are scaled.
    pixels = fashion_mnist.train.images / 255
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [0.28604, 0.35302], atol=1e-5)


# CIFAR-10 -------------------------------------------------------------------------------------------------

TRAIN, TEST = drawn(50, (32, 32, 3), 3), drawn(10, (32, 32, 3), 4)


@pytest.fixture
def small_cifar(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "cifar10", DATA_SETS["cifar10"]._replace(sizes=(50, 10)))


def batches():
    rows = [slice(10 * i, 10 * (i + 1)) for i in range(5)]
    return [*(Images(TRAIN.images[r], TRAIN.labels[r]) for r in rows), TEST]


def planes(part):
    return part.images.transpose(0, 3, 1, 2).reshape(len(part.labels), -1)


def binary_files():
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    return {
        name: np.concatenate([part.labels[:, None], planes(part)], axis=1).tobytes()
        for name, part in zip(names, batches(), strict=True)
    }


def python_files():
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return {
        name: pickle.dumps({b"data": planes(part), b"labels": part.labels.tolist()}, protocol=2)
        for name, part in zip(names, batches(), strict=True)
    }


def lay_down(folder, files, inside, archive):
    """The files in a folder, or packed in an archive."""
    if not archive:
        (folder / inside).mkdir(parents=True, exist_ok=True)
        for name, raw in files.items():
            (folder / inside / name).write_bytes(raw)
        return
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / archive, "w:gz") as packed:
        for name, raw in files.items():
            member = tarfile.TarInfo(f"{inside}/{name}")
            member.size = len(raw)
            packed.addfile(member, io.BytesIO(raw))


@pytest.mark.parametrize(
    ("files", "inside", "archive"),
    [
        (binary_files, "cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
        (binary_files, "cifar-10-batches-bin", ""),
        (python_files, "cifar-10-batches-py", "cifar-10-python.tar.gz"),
        (python_files, "", ""),
    ],
)
def test_every_form_of_cifar_gives_the_same_arrays(tmp_path, small_cifar, files, inside, archive):
    lay_down(tmp_path / "raw", files(), inside, archive)
    found = image_data("cifar10", str(tmp_path / "raw"), str(tmp_path / "copy"))
    assert_same(found, TRAIN, TEST)


class Trap:
    """What a pickle could run."""

    def __reduce__(self):
        return print, ("trapped",)


def test_a_pickle_that_would_run_is_refused(tmp_path, small_cifar, capsys):
    lay_down(tmp_path / "raw", python_files() | {"test_batch": pickle.dumps(Trap())}, "", "")
    with pytest.raises(Refused, match=r"builtins\.print is not allowed in a data file"):
        image_data("cifar10", str(tmp_path / "raw"), str(tmp_path / "copy"))
    assert "trapped" not in capsys.readouterr().out


def test_jpegs_are_read_and_say_that_they_are_not_the_published_pixels(tmp_path, small_cifar):
    flat = {"train": np.repeat(np.arange(10), 5), "test": np.arange(10)}
    with zipfile.ZipFile(tmp_path / "cifar10_jpeg.zip", "w") as packed:
        for split, classes in flat.items():
            for i, label in enumerate(classes):
                raw = io.BytesIO()
                Image.new("RGB", (32, 32), (20 * int(label), 10, 200)).save(raw, "JPEG", quality=95)
                packed.writestr(f"{split}/{CIFAR_CLASSES[label]}/{i:04d}.jpg", raw.getvalue())
    found = image_data("cifar10", str(tmp_path), str(tmp_path / "copy"))
    assert found.origin.endswith("not the published pixels")
    for part in (found.train, found.test):
        red = part.images[..., 0].mean((1, 2))
        np.testing.assert_allclose(red, 20.0 * part.labels, atol=3)
    # The first images are of several classes, so that a first part of them can stand for all.
    assert len(set(found.train.labels[:20])) >= 7
