"""CIFAR-10: every form gives the same arrays, what is damaged or out of range is named, and nothing in it is run."""

import contextlib
import hashlib
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic import assert_same
from synthetic import images_of as drawn

from experiments.data import datasets
from experiments.data.cifar10 import CIFAR_CLASSES, PUBLISHED_MD5, _python_batch, cifar_readers
from experiments.data.datasets import DATA_SETS, image_data
from experiments.runner.store import InputError

pytestmark = pytest.mark.usefixtures("no_data")


TRAIN, TEST = drawn(50, (32, 32, 3), 3), drawn(10, (32, 32, 3), 4)


@pytest.fixture
def small_cifar(monkeypatch):
    small = DATA_SETS["cifar10"]._replace(sizes=(50, 10), readers=cifar_readers(md5={}))
    monkeypatch.setitem(DATA_SETS, "cifar10", small)


def batches():
    rows = [slice(10 * i, 10 * (i + 1)) for i in range(5)]
    return [*(TRAIN._replace(images=TRAIN.images[r], labels=TRAIN.labels[r]) for r in rows), TEST]


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
def test_every_form_of_cifar_gives_the_same_arrays(tmp_path, small_cifar, monkeypatch, files, inside, archive):
    lay_down(tmp_path / "raw", files(), inside, archive)
    found = image_data("cifar10", str(tmp_path / "raw"), str(tmp_path / "copy"))
    assert_same(found, TRAIN, TEST)
    assert "in the published layout, its contents not verified, SHA-256 " in found.origin
    # The origin distinguishes unverified contents from others.
    monkeypatch.setitem(globals(), "TRAIN", drawn(50, (32, 32, 3), 5))
    lay_down(tmp_path / "other", files(), inside, archive)
    assert image_data("cifar10", str(tmp_path / "other"), str(tmp_path / "another")).origin != found.origin


# A batch as Python 2 wrote the published ones: protocol 2, names of that time, bytes as its strings.
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x18\x00\x00%sq\x08tbU\x06labelsq\x09]q\x0a(K\x07K\x02eu."
)


def test_a_batch_of_python_2_is_read():
    two = drawn(10, (32, 32, 3), 5)
    rows = planes(two)[:2]
    found = _python_batch(PYTHON_2 % rows.tobytes())
    np.testing.assert_array_equal(found.images, two.images[:2])
    np.testing.assert_array_equal(found.labels, [7, 2])
    order = np.asfortranarray(rows)
    raw = pickle.dumps({b"data": order, b"labels": [7, 2]}, protocol=2)
    np.testing.assert_array_equal(_python_batch(raw).images, two.images[:2])


def as_published(folder):
    """The sums of all files under a folder, by their names, as a publisher would give them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("archive", ["cifar-10-python.tar.gz", "cifar-10-binary.tar.gz", ""])
def test_what_its_publisher_knows_is_verified(tmp_path, monkeypatch, small_cifar, archive):
    folder = tmp_path / "raw"
    files = binary_files() if "binary" in archive else python_files()
    inside = "cifar-10-batches-bin" if "binary" in archive else "cifar-10-batches-py"
    lay_down(folder, files, inside, archive)
    known = cifar_readers(md5=as_published(folder))
    monkeypatch.setitem(DATA_SETS, "cifar10", DATA_SETS["cifar10"]._replace(readers=known))
    found = image_data("cifar10", str(folder), str(tmp_path / "copy"))
    assert_same(found, TRAIN, TEST)
    assert found.origin.endswith(", as published")
    image_data.cache_clear()
    path = sorted(path for path in folder.rglob("*") if path.is_file())[-1]
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match=f"{path.name}: is truncated or altered: its MD5 is"):
        image_data("cifar10", str(folder), str(tmp_path / "another"))
    assert not (tmp_path / "another").exists()


def test_the_published_sums_are_those_that_are_asked_for():
    for file in ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"):
        assert any(file in line and PUBLISHED_MD5[file] in line for line in DATA_SETS["cifar10"].wanted)
        assert any(file in reader.md5 for reader in DATA_SETS["cifar10"].readers)


def with_batch(**changed):
    """The Python batches with the second one's contents changed."""
    batch = {b"data": planes(batches()[1]), b"labels": batches()[1].labels.tolist()}
    for name, content in changed.items():
        batch[name.encode()] = content
    return python_files() | {"data_batch_2": pickle.dumps(batch, protocol=2)}


SHORT = {"data_batch_3.bin": binary_files()["data_batch_3.bin"][:-7]}
WRONG = {
    "record": (lambda: binary_files() | SHORT, "30723 bytes are not a multiple of the 3073 bytes of a record"),
    "label": (lambda: with_batch(labels=[*range(9), 265]), "a label is 265, not one of 0..9"),
    "negative": (lambda: with_batch(labels=[*range(9), -247]), "a label is -247, not one of 0..9"),
    "fraction": (lambda: with_batch(labels=[*range(9), 9.7]), "a label is 9.7, not one of 0..9"),
    "huge": (lambda: with_batch(labels=[*range(9), 2**70]), "a label is 1180591620717411303424, not one"),
    "wide": (lambda: with_batch(data=planes(batches()[1]).astype(np.int64) + 256), "its pixels are not unsigned bytes"),
    "float": (lambda: with_batch(data=planes(batches()[1]) / 255), "its pixels are not unsigned bytes"),
    "list": (lambda: with_batch(data=[300] * 30720), "its pixels are list, not an array of bytes"),
    "key": (lambda: python_files() | {"data_batch_1": pickle.dumps({})}, "is not a batch of CIFAR-10"),
    "text": (lambda: python_files() | {"data_batch_1": b"not a pickle"}, "is not a batch of CIFAR-10"),
    "balance": (lambda: with_batch(labels=[0, *range(9)]), "not equally many"),
    "few": (lambda: with_batch(labels=[*range(9)]), "49 labels, not 50"),
}


@pytest.mark.parametrize(("files", "words"), WRONG.values(), ids=WRONG)
def test_what_is_out_of_range_or_damaged_is_named_and_nothing_is_kept(tmp_path, small_cifar, files, words):
    lay_down(tmp_path / "raw", files(), "", "")
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        image_data("cifar10", str(tmp_path / "raw"), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda raw: raw[: len(raw) // 2], "cannot be unpacked"),
        (lambda raw: b"no archive", "cannot be unpacked"),
        (lambda raw: b"", "cannot be unpacked"),
    ],
)
def test_a_damaged_archive_is_named(tmp_path, small_cifar, harm, words):
    lay_down(tmp_path / "raw", binary_files(), "cifar-10-batches-bin", "cifar-10-binary.tar.gz")
    path = tmp_path / "raw" / "cifar-10-binary.tar.gz"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(InputError, match=words):
        image_data("cifar10", str(tmp_path / "raw"), str(tmp_path / "copy"))


def test_a_folder_in_the_place_of_an_archive_is_named(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-python.tar.gz").mkdir()
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz: cannot be read \(Is a directory\)"):
        image_data("cifar10", str(tmp_path), str(tmp_path / "copy"))


def test_a_folder_in_the_place_of_a_batch_is_named(tmp_path, small_cifar):
    lay_down(tmp_path, binary_files(), "", "")
    (tmp_path / "test_batch.bin").unlink()
    (tmp_path / "test_batch.bin").mkdir()
    with pytest.raises(InputError, match=r"test_batch\.bin: cannot be read \(Is a directory\)"):
        image_data("cifar10", str(tmp_path), str(tmp_path / "copy"))


def test_an_archive_without_a_batch_is_named(tmp_path, small_cifar):
    files = binary_files()
    del files["data_batch_4.bin"]
    lay_down(tmp_path / "raw", files, "cifar-10-batches-bin", "cifar-10-binary.tar.gz")
    with pytest.raises(InputError, match=r"lacks cifar-10-batches-bin/data_batch_4\.bin"):
        image_data("cifar10", str(tmp_path / "raw"), str(tmp_path / "copy"))


class Trap:
    """What a pickle could run."""

    def __reduce__(self):
        return print, ("trapped",)


def test_a_pickle_that_would_run_is_refused(tmp_path, small_cifar, capsys):
    lay_down(tmp_path / "raw", python_files() | {"test_batch": pickle.dumps(Trap())}, "", "")
    with pytest.raises(InputError, match=r"builtins\.print is not allowed in a data file"):
        image_data("cifar10", str(tmp_path / "raw"), str(tmp_path / "copy"))
    assert "trapped" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["numpy.f2py.__main__ dtype", "numpy.ctypeslib ndarray", "codecs encode"])
def test_a_name_of_another_module_is_not_taken_for_ours(tmp_path, small_cifar, name):
    raw = b"c%s\n%s\n." % tuple(name.encode().split())
    lay_down(tmp_path / "raw", python_files() | {"test_batch": raw}, "", "")
    with pytest.raises(InputError, match=f"{name.replace(' ', '.')} is not allowed in a data file"):
        image_data("cifar10", str(tmp_path / "raw"), str(tmp_path / "copy"))


def test_a_damaged_batch_is_refused_or_read(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    whole = python_files()["data_batch_1"]
    (read,) = (reader.read for reader in cifar_readers({}) if reader.name == "cifar-10-python, unpacked")
    for name, raw in python_files().items():
        (folder / name).write_bytes(raw)
    # The pixels fill the middle; what steers the pickle is around them. No byte becomes LONG_BINPUT: its index can ask
    # for tens of gigabytes of memo.
    values = st.integers(0, 255).filter(lambda byte: byte != ord("r"))
    places = st.one_of(st.integers(0, 160), st.integers(len(whole) - 80, len(whole) - 1))

    @settings(max_examples=60)
    @given(st.lists(st.tuples(places, values), min_size=1, max_size=3))
    def check(changes):
        damaged = bytearray(whole)
        for place, byte in changes:
            damaged[place] = byte
        (folder / "data_batch_1").write_bytes(damaged)
        with contextlib.suppress(InputError):
            train, _ = read([folder / name for name in python_files()])
            assert train.images.dtype == train.labels.dtype == np.uint8

    check()


def write_jpegs(folder):
    flat = {"train": np.repeat(np.arange(10), 5), "test": np.arange(10)}
    with zipfile.ZipFile(folder / "cifar10_jpeg.zip", "w") as packed:
        for split, classes in flat.items():
            for i, label in enumerate(classes):
                raw = io.BytesIO()
                Image.new("RGB", (32, 32), (20 * int(label), 10, 200)).save(raw, "JPEG", quality=95)
                packed.writestr(f"{split}/{CIFAR_CLASSES[label]}/{i:04d}.jpg", raw.getvalue())


def test_jpegs_are_read_and_say_that_they_are_not_the_published_pixels(tmp_path, small_cifar):
    write_jpegs(tmp_path)
    found = image_data("cifar10", str(tmp_path), str(tmp_path / "copy"))
    assert "not the published pixels, SHA-256 " in found.origin
    for part in (found.train, found.test):
        red = part.images[..., 0].mean((1, 2))
        np.testing.assert_allclose(red, 20.0 * part.labels, atol=3)
    # The first images are of several classes, so that a first part of them can stand for all.
    assert len(set(found.train.labels[:20])) >= 7


def test_the_better_known_pixels_stand_before_the_others_and_before_copies_of_them(tmp_path, small_cifar, monkeypatch):
    raw, copy = tmp_path / "raw", str(tmp_path / "copy")
    raw.mkdir()
    monkeypatch.setenv("LAWLIB_DATA", str(raw))

    def origin(folder=""):
        image_data.cache_clear()
        return image_data("cifar10", folder, copy).origin

    write_jpegs(raw)
    recompressed = [origin(), origin()]
    lay_down(raw, binary_files(), "", "")
    unverified = [origin(), origin()]
    lay_down(raw, python_files(), "cifar-10-batches-py", "cifar-10-python.tar.gz")
    sums = {name: md5 for name, md5 in as_published(raw).items() if name == "cifar-10-python.tar.gz"}
    monkeypatch.setitem(DATA_SETS, "cifar10", DATA_SETS["cifar10"]._replace(readers=cifar_readers(md5=sums)))
    published = [origin(), origin()]
    monkeypatch.delenv("LAWLIB_DATA")
    assert "compressed again" in recompressed[0]
    assert "cifar-10-binary, unpacked, in the published layout" in unverified[0]
    assert published[0] == "cifar10 from cifar-10-python.tar.gz, as published"
    assert [len(set(each)) for each in (recompressed, unverified, published)] == [1, 1, 1]
    assert origin() == published[0]


def test_what_a_named_folder_holds_serves_the_next_time_where_it_is_better_known(tmp_path, small_cifar):
    copy, folders = str(tmp_path / "copy"), [tmp_path / "jpegs", tmp_path / "bytes"]
    folders[0].mkdir()
    write_jpegs(folders[0])
    lay_down(folders[1], binary_files(), "", "")
    origins = [image_data("cifar10", str(folder), copy).origin for folder in folders]
    assert image_data("cifar10", data_dir=copy).origin == origins[1] != origins[0]


def test_an_incomplete_archive_that_is_skipped_is_reported(tmp_path, small_cifar):
    write_jpegs(tmp_path)
    lay_down(tmp_path, python_files(), "", "")
    (tmp_path / "data_batch_3").unlink()
    with pytest.warns(UserWarning, match=r"lacks .*data_batch_3; cifar10 from JPEG files.* is read instead"):
        image_data("cifar10", str(tmp_path), str(tmp_path / "copy"))


def test_a_copy_of_an_earlier_version_is_reported(tmp_path, small_cifar):
    (tmp_path / "lawlib_cifar10" / "1.0.0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"lawlib_cifar10/1\.0\.0: was prepared by an earlier version"):
        image_data("cifar10", data_dir=str(tmp_path))


def test_a_copy_of_tensorflow_datasets_stands_before_pixels_that_were_compressed_again(
    tmp_path, small_cifar, monkeypatch
):
    write_jpegs(tmp_path)
    monkeypatch.setenv("LAWLIB_DATA", str(tmp_path))
    monkeypatch.setattr(datasets, "read_stock", lambda *_: (TRAIN, TEST))
    found = image_data("cifar10", data_dir=str(tmp_path / "copy"))
    assert_same(found, TRAIN, TEST)
    assert found.origin.startswith("cifar10 of tensorflow-datasets, in the published layout, its contents not verified")


def jpeg(mode, size):
    raw = io.BytesIO()
    Image.new(mode, size).save(raw, "JPEG")
    return raw.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train/cat/1.jpg", jpeg("RGB", (1, 1)), r"train/cat/1.jpg has shape \(1, 1, 3\), not \(32, 32, 3\)"),
        ("train/cat/1.jpg", jpeg("L", (32, 32)), r"train/cat/1.jpg has shape \(32, 32\), not \(32, 32, 3\)"),
        ("train/lion/1.jpg", jpeg("RGB", (32, 32)), r"train/lion/1.jpg is not split/CLASS/NNNN.jpg"),
        ("train/1.jpg", jpeg("RGB", (32, 32)), r"train/1.jpg is not split/CLASS/NNNN.jpg"),
        ("test/cat/1.jpg", b"no picture", r"test/cat/1.jpg: cannot identify image file"),
        ("test/cat/1.jpg", jpeg("RGB", (32, 32))[:-300], r"test/cat/1.jpg: "),
    ],
)
def test_a_picture_that_does_not_fit_is_named(tmp_path, small_cifar, name, content, words):
    with zipfile.ZipFile(tmp_path / "cifar10_jpeg.zip", "w") as packed:
        packed.writestr(name, content)
    with pytest.raises(InputError, match=words):
        image_data("cifar10", str(tmp_path), str(tmp_path / "copy"))


def test_a_zip_that_is_cut_is_named(tmp_path, small_cifar):
    (tmp_path / "cifar10_jpeg.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match=r"cifar10_jpeg\.zip: cannot be read \(File is not a zip file"):
        image_data("cifar10", str(tmp_path), str(tmp_path / "copy"))
