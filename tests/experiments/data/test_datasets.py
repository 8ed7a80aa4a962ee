"""Data sets of images: every published form gives the same arrays, damage is named, and a copy is left once."""

import gzip
import importlib.util
import io
import json
import os
import shutil
import struct
import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from synthetic import assert_same
from synthetic import images_of as drawn

from experiments.data import datasets, tfds_copies
from experiments.data.datasets import DATA_SETS, image_data
from experiments.data.idx import Images
from experiments.runner.store import InputError

FASHION = DATA_SETS["fashion_mnist"]


pytestmark = pytest.mark.usefixtures("no_data")


# Fashion-MNIST --------------------------------------------------------------------------------------------

SMALL = {"train": drawn(40, (28, 28, 1), 1), "t10k": drawn(20, (28, 28, 1), 2)}


@pytest.fixture
def small_fashion(monkeypatch):
    hashes = tuple(datasets._digest(part) for part in SMALL.values())
    any_order = tuple(datasets._unordered(part) for part in SMALL.values())
    small = FASHION._replace(sizes=(40, 20), hashes=hashes, any_order=any_order, folders=())
    monkeypatch.setitem(DATA_SETS, "fashion_mnist", small)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, parts=SMALL, pack=gzip.compress, suffix=".gz"):
    folder.mkdir(exist_ok=True)
    for prefix, part in parts.items():
        (folder / f"{prefix}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(part.images[..., 0])))
        (folder / f"{prefix}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(part.labels)))
    return str(folder)


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bytes, "")])
def test_idx_files_are_read_and_a_copy_serves_the_next_time(tmp_path, small_fashion, pack, suffix):
    folder, copy = write_idx(tmp_path / "raw", pack=pack, suffix=suffix), str(tmp_path / "copy")
    first = image_data("fashion_mnist", folder, copy)
    assert_same(first, SMALL["train"], SMALL["t10k"])
    assert first.origin == "fashion_mnist from idx files, as published"
    image_data.cache_clear()
    again = image_data("fashion_mnist", data_dir=copy)
    assert_same(again, SMALL["train"], SMALL["t10k"])
    assert again.origin == first.origin


def test_files_may_be_gzipped_or_not_one_by_one(tmp_path, small_fashion):
    folder = tmp_path / "raw"
    write_idx(folder)
    packed = folder / "train-labels-idx1-ubyte.gz"
    (folder / "train-labels-idx1-ubyte").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    # Of a file that is there in both forms the one as published is read.
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"no idx file at all")
    assert_same(image_data("fashion_mnist", str(folder), str(tmp_path / "copy")), SMALL["train"], SMALL["t10k"])


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


def misplaced(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    (folder / "t10k-labels-idx1-ubyte").mkdir()


def half(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()


DAMAGE = {
    truncated: "31355 bytes of data, but its header announces 31360",
    cut: "cannot be unzipped",
    altered: "contents have SHA-256",
    mislabelled: "a label is 11, outside 0..9",
    swapped: "not equally many",
    shortened: r"images have shape \(30, 28, 28, 1\), not \(40, 28, 28, 1\)",
    another: "is not an idx file of unsigned bytes in 1 dimensions",
    misplaced: r"t10k-labels-idx1-ubyte: cannot be read \(Is a directory\)",
    half: "lacks t10k-labels-idx1-ubyte.gz or t10k-labels-idx1-ubyte",
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_damage_is_named_and_nothing_is_kept(tmp_path, small_fashion, damage, words):
    write_idx(tmp_path / "raw")
    damage(tmp_path / "raw")
    with pytest.raises(InputError, match=words):
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
    with pytest.raises(InputError, match=r"SHA-256|cannot be read .* delete it to prepare it anew"):
        image_data("fashion_mnist", data_dir=str(copy))


def halved(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("*train.array_record*", lambda path: path.unlink()),
        ("*train.array_record*", halved),
        ("dataset_info.json", lambda path: path.unlink()),
        ("dataset_info.json", halved),
        ("metadata.json", lambda path: path.unlink()),
        ("metadata.json", lambda path: path.write_text("{}")),
        ("metadata.json", lambda path: path.write_text('{"origin": "me"}')),
    ],
)
def test_a_copy_that_is_not_whole_is_refused(tmp_path, small_fashion, file, harm):
    copy = tmp_path / "copy"
    image_data("fashion_mnist", write_idx(tmp_path / "raw"), str(copy))
    image_data.cache_clear()
    (damaged,) = copy.rglob(file)
    harm(damaged)
    with pytest.raises(InputError, match=r"cannot be read .* delete it to prepare it anew"):
        image_data("fashion_mnist", data_dir=str(copy))


def test_an_array_as_tensorflow_datasets_shuffles_it_is_known_by_its_contents(tmp_path, small_fashion):
    shuffled_copy(tmp_path / "fashion_mnist" / "2.0.0", {split: drawn(20, (28, 28, 1), 7) for split in SPLITS})
    shuffled_copy(tmp_path / "fashion_mnist" / "10.0.0", dict(zip(SPLITS, SMALL.values(), strict=True)))
    found = image_data("fashion_mnist", data_dir=str(tmp_path))
    assert found.origin == "fashion_mnist of tensorflow-datasets, as published but for their order"
    for part, wanted in zip((found.train, found.test), SMALL.values(), strict=True):
        assert not np.array_equal(part.images, wanted.images)
        assert by_pixels(part) == by_pixels(wanted)
    image_data.cache_clear()
    swap = SMALL["train"]._replace(labels=SMALL["train"].labels[::-1])
    shuffled_copy(tmp_path / "fashion_mnist" / "11.0.0", {"train": swap, "test": SMALL["t10k"]})
    with pytest.raises(InputError, match="fashion_mnist, train: contents have SHA-256"):
        image_data("fashion_mnist", data_dir=str(tmp_path))


SPLITS = ("train", "test")


def by_pixels(part):
    return sorted((image.tobytes(), int(label)) for image, label in zip(*part, strict=True))


def shuffled_copy(folder, splits):
    """A copy as a stock builder leaves it: images as PNG files, in the order of the hashes of their keys."""

    class Stock(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "fashion_mnist"
        VERSION = tfds.core.Version("3.0.1")

        def _info(self):
            fields = {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(fields))

        def _split_generators(self, _):
            return {split: self._generate_examples(part) for split, part in splits.items()}

        def _generate_examples(self, part):
            for key, (image, label) in enumerate(zip(*part, strict=True)):
                png = io.BytesIO()
                Image.fromarray(image[..., 0]).save(png, "PNG")
                png.seek(0)
                yield key, {"image": png, "label": int(label)}

    with tempfile.TemporaryDirectory() as scratch:
        builder = Stock(data_dir=scratch, file_format="array_record")
        builder.download_and_prepare()
        shutil.copytree(builder.data_dir, folder)


def as_downloaded(parts):
    return [{"image": part.images, "label": part.labels.astype(np.int64)} for part in parts]


@pytest.fixture
def tensorflow(monkeypatch):
    """As if TensorFlow were installed; gives what the download is to do."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name == "tensorflow" else found(name))
    return lambda load: monkeypatch.setattr(tfds, "load", load)


def test_a_download_is_verified(tmp_path, small_fashion, tensorflow):
    asked = {}
    tensorflow(lambda name, **how: asked.update(name=name, **how) or as_downloaded(SMALL.values()))
    found = image_data("fashion_mnist", data_dir=str(tmp_path))
    assert_same(found, SMALL["train"], SMALL["t10k"])
    assert asked == {"name": "fashion_mnist", "data_dir": tmp_path, "split": ["train", "test"], "batch_size": -1}
    image_data.cache_clear()
    tensorflow(lambda *_, **__: as_downloaded([drawn(40, (28, 28, 1), 8), SMALL["t10k"]]))
    with pytest.raises(InputError, match="fashion_mnist, train: contents have SHA-256"):
        image_data("fashion_mnist", data_dir=str(tmp_path))


def no_network(*_, **__):
    msg = "no route\nto the host"
    raise ConnectionError(msg)


def wrong_numbers(*_, **__):
    train, test = as_downloaded(SMALL.values())
    return train | {"label": train["label"] + 256}, test


@pytest.mark.parametrize(("load", "words"), [(no_network, "no route"), (wrong_numbers, "integers from 0 to 255")])
def test_a_download_that_fails_says_what_else_is_wanted(tmp_path, small_fashion, tensorflow, load, words):
    tensorflow(load)
    with pytest.raises(InputError) as refused:
        image_data("fashion_mnist", data_dir=str(tmp_path))
    first, last = refused.value.problems
    assert first.startswith("tensorflow-datasets cannot download fashion_mnist (")
    assert words in first
    assert "train-images-idx3-ubyte.gz (26,421,880" in last


def test_a_copy_stands_before_files_and_files_before_what_tensorflow_datasets_has(
    tmp_path, small_fashion, monkeypatch, tensorflow
):
    tensorflow(lambda *_, **__: pytest.fail("downloaded"))
    monkeypatch.setenv("LAWLIB_DATA", write_idx(tmp_path / "raw"))
    shuffled_copy(tmp_path / "copy" / "fashion_mnist" / "3.0.1", dict(zip(SPLITS, SMALL.values(), strict=True)))
    origin = "fashion_mnist from idx files, as published"
    assert image_data("fashion_mnist", data_dir=str(tmp_path / "copy")).origin == origin
    image_data.cache_clear()
    altered(tmp_path / "raw")  # which is not read any more
    found = image_data("fashion_mnist", data_dir=str(tmp_path / "copy"))
    assert found.origin == origin
    assert image_data("fashion_mnist", data_dir=str(tmp_path / "copy")) is found
    with pytest.raises(InputError, match="contents have SHA-256"):
        image_data("fashion_mnist", str(tmp_path / "raw"), str(tmp_path / "copy"))


def test_where_no_copy_can_be_left_the_data_are_read_all_the_same(tmp_path, small_fashion):
    (tmp_path / "full").write_text("no folder")
    with pytest.warns(UserWarning, match="no copy of lawlib_fashion_mnist could be written to"):
        found = image_data("fashion_mnist", write_idx(tmp_path / "raw"), str(tmp_path / "full"))
    assert_same(found, SMALL["train"], SMALL["t10k"])


def test_a_full_disk_is_no_reason_to_stop(tmp_path, small_fashion, monkeypatch):
    def no_room(*_):
        class Writer:
            def __init__(self, *_, **__):
                pass

            def download_and_prepare(self):
                msg = "write() failed: No space left on device"  # array_record's, which is no OSError
                raise RuntimeError(msg)

        return Writer

    monkeypatch.setattr(tfds_copies, "_builder_class", no_room)
    with pytest.warns(UserWarning, match="No space left"):
        found = image_data("fashion_mnist", write_idx(tmp_path / "raw"), str(tmp_path / "copy"))
    assert_same(found, SMALL["train"], SMALL["t10k"])


@pytest.mark.parametrize("reported", ["[]", "{}", "no json"])
def test_a_copy_of_tensorflow_datasets_that_says_nothing_is_none(tmp_path, small_fashion, reported):
    info = tmp_path / "fashion_mnist" / "3.0.1" / "dataset_info.json"
    info.parent.mkdir(parents=True)
    info.write_text(reported)
    with pytest.raises(InputError, match="fashion_mnist was not found"):
        image_data("fashion_mnist", data_dir=str(tmp_path))


def test_the_slower_of_two_that_prepare_a_copy_finds_it_there(tmp_path, small_fashion, monkeypatch):
    folder, copy, builder = write_idx(tmp_path / "raw"), tmp_path / "copy", tfds_copies._builder_class

    def overtaken(*of):
        class Slow(builder(*of)):
            def download_and_prepare(self):
                (copy / "lawlib_fashion_mnist" / "2.0.0").mkdir(parents=True)  # the faster one's
                super().download_and_prepare()
                raise FileExistsError

        return Slow

    monkeypatch.setattr(tfds_copies, "_builder_class", overtaken)
    assert_same(image_data("fashion_mnist", folder, str(copy)), SMALL["train"], SMALL["t10k"])


@pytest.mark.parametrize("module", ["tensorflow_datasets", "array_record", "importlib_resources"])
@pytest.mark.parametrize("present", ["files", "copy", "nothing"])
def test_a_missing_package_has_one_line_and_nothing_is_kept(tmp_path, small_fashion, monkeypatch, module, present):
    folder, copy = write_idx(tmp_path / "raw"), tmp_path / "copy"
    if present == "copy":
        image_data("fashion_mnist", folder, str(copy))
        image_data.cache_clear()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    with pytest.raises(InputError) as refused:
        image_data("fashion_mnist", folder if present == "files" else "", str(copy))
    (line,) = refused.value.problems
    assert line.startswith(f"reading fashion_mnist needs {module.replace('tensorflow_', 'tensorflow-')} (extra data): ")
    assert copy.exists() == (present == "copy")


def test_what_is_wanted_is_listed_where_nothing_is_found(tmp_path, small_fashion):
    with pytest.raises(InputError, match=r"fashion_mnist was not found.*train-images-idx3-ubyte\.gz \(26,421,880"):
        image_data("fashion_mnist", str(tmp_path), str(tmp_path))


@pytest.mark.parametrize(
    ("info", "reported"),
    [
        ({"fileFormat": "tfrecord"}, "in tfrecord, but only array_record is read"),
        ({"fileFormat": "riegeli"}, "in riegeli, but only array_record is read"),
        ({}, "whose dataset_info.json names no file format, but only array_record is read"),
    ],
)
def test_a_copy_in_another_format_is_reported(tmp_path, monkeypatch, small_fashion, info, reported):
    monkeypatch.delenv("LAWLIB_DATA", raising=False)
    copy = tmp_path / "fashion_mnist" / "3.0.1"
    copy.mkdir(parents=True)
    (copy / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(InputError) as refused:
        image_data("fashion_mnist", "", str(tmp_path))
    line, missing = refused.value.problems
    assert line.startswith(f"{copy}: is a copy of tensorflow-datasets {reported}; ")
    assert "--out_file_format=array_record" in line
    assert "was not found" in missing


def test_the_published_fashion_mnist(fashion_mnist):
    assert fashion_mnist.train.images.shape == (60_000, 28, 28, 1)
    assert fashion_mnist.origin.endswith("as published")
    # Of the same images in another order nothing but these is known.
    parts = fashion_mnist.train, fashion_mnist.test
    assert tuple(datasets._unordered(Images(*(x[::-1] for x in part))) for part in parts) == FASHION.any_order
    # The mean and spread of its pixels, to which the paper's networks are scaled.
    pixels = fashion_mnist.train.images / 255
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [0.28604, 0.35302], atol=1e-5)
