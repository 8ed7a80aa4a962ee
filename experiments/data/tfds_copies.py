"""Image data in the format of tensorflow-datasets: prepared once as array_record, read without TensorFlow."""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.idx import Images, in_bytes
from experiments.runner.store import InputError

__all__ = ["NEEDED", "ORIGIN", "SPLITS", "read_prepared", "read_stock", "unread_stock", "write_prepared"]

# Besides tensorflow-datasets itself what it imports only when it reads or writes a copy.
NEEDED = ("tensorflow-datasets", "array_record", "importlib_resources")
# Raise it when the name or the contents of a copy change: older copies are then ignored.
VERSION = "2.0.0"
SPLITS = ("train", "test")
# The notes of a copy that lawlib prepares: its origin in words, and the digest of each split under the split's name.
ORIGIN = "origin"
# The format that tensorflow-datasets reads without TensorFlow; its default is tfrecord.
READABLE = "array_record"
ANEW = "delete it to prepare it anew"


def read_prepared(name: str, data_dir: Path) -> tuple[tuple[Images, Images], Mapping[str, str]] | None:
    """(train, test) and their notes, or None if lawlib prepared no copy of this name in ``data_dir``.

    Raises:
        InputError: The copy is damaged or incomplete.
    """
    folder = data_dir / name / VERSION
    if not folder.exists():
        return None
    if not (folder / "dataset_info.json").exists():
        raise _unusable(folder, "it is incomplete: it has no dataset_info.json")
    images, notes = _read(folder)
    if missing := [note for note in (ORIGIN, *SPLITS) if note not in notes]:
        raise _unusable(folder, f"it is incomplete: its notes lack {', '.join(missing)}")
    return images, notes


def read_stock(name: str, data_dir: Path) -> tuple[Images, Images] | None:
    """(train, test) of the newest array_record copy that tensorflow-datasets prepared, or None.

    Raises:
        InputError: The copy is damaged.
    """
    infos = [info for info in _infos(name, data_dir) if _format(info) == READABLE]
    newest = max(infos, key=lambda info: [int(n) for n in re.findall(r"\d+", info.parent.name)], default=None)
    return _read(newest.parent, "delete it, so that other copies and files are searched")[0] if newest else None


def unread_stock(name: str, data_dir: Path) -> list[str]:
    """A line for every copy of tensorflow-datasets that cannot be read without TensorFlow, with the remedy."""
    remedy = f"`tfds convert_format --dataset_dir={data_dir / name} --out_file_format={READABLE}"
    remedy = f"convert it with TensorFlow installed: {remedy} --out_path=OTHER/{name}`, then set TFDS_DATA_DIR=OTHER"
    lines = []
    for info in _infos(name, data_dir):
        if (form := _format(info)) != READABLE:
            reported = f"in {form}" if form else f"whose {info.name} names no file format"
            lines.append(
                f"{info.parent}: is a copy of tensorflow-datasets {reported}, but only {READABLE} is read; {remedy}"
            )
    return lines


def _infos(name: str, data_dir: Path) -> list[Path]:
    return sorted((data_dir / name).glob("*/dataset_info.json"))


def _format(info: Path) -> str:
    """The format of a copy's files; empty if it is unknown."""
    try:
        reported = json.loads(info.read_text())
    except (OSError, ValueError):
        return ""
    return str(reported.get("fileFormat", "")) if isinstance(reported, dict) else ""


def _read(folder: Path, remedy: str = ANEW) -> tuple[tuple[Images, Images], Mapping[str, str]]:
    import tensorflow_datasets as tfds

    try:
        builder: Any = tfds.builder_from_directory(folder)
        train, test = (_stacked(builder.as_data_source(split=split)) for split in SPLITS)
        return (train, test), {key: str(note) for key, note in (builder.info.metadata or {}).items()}
    except Exception as error:  # tensorflow-datasets and its readers may raise anything on a damaged copy
        problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _unusable(folder, problem, remedy) from error


def _unusable(folder: Path, problem: str, remedy: str = ANEW) -> InputError:
    return InputError([f"{folder}: cannot be read ({problem}); {remedy}"])


def _stacked(source: Any) -> Images:
    records = source.__getitems__(range(len(source)))
    return in_bytes(*(np.stack([record[field] for record in records]) for field in ("image", "label")))


def write_prepared(name: str, data_dir: Path, splits: Mapping[str, Images], notes: Mapping[str, str]) -> None:
    """Prepare a copy under ``data_dir`` if there is none; a rename makes it appear as a whole.

    Only later runs need the copy: if it cannot be written, a warning says so and this run continues.
    """
    if (data_dir / name / VERSION).exists():
        return
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        _builder_class(tfds, name)(splits, notes, data_dir=data_dir, file_format=READABLE).download_and_prepare()
    except Exception as error:  # the disk, tensorflow-datasets and its writers may raise anything
        # If two processes prepare it at the same time, the slower one finds the copy of the other.
        if not (data_dir / name / VERSION).exists():
            warnings.warn(f"no copy of {name} could be written to {data_dir}: {error}", stacklevel=2)


def _builder_class(tfds: Any, of_name: str) -> Any:
    """A builder of our own: those of tensorflow-datasets cannot prepare these data sets without TensorFlow."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore
        """Images and labels that are already in memory, as tensors of bytes."""

        name = of_name
        VERSION = tfds.core.Version(VERSION)

        def __init__(self, splits: Mapping[str, Images], notes: Mapping[str, str], **options: Any):
            self._splits, self._notes = splits, notes
            super().__init__(**options)

        def _info(self) -> Any:
            shape = next(iter(self._splits.values())).images.shape[1:]
            image, label = (tfds.features.Tensor(shape=s, dtype=np.uint8) for s in (shape, ()))
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            notes = tfds.core.MetadataDict(self._notes)
            return tfds.core.DatasetInfo(builder=self, features=features, metadata=notes, disable_shuffling=True)

        def _split_generators(self, _: Any) -> dict[str, Iterator]:
            return {split: self._generate_examples(images) for split, images in self._splits.items()}

        def _generate_examples(self, images: Images) -> Iterator:
            for index, (image, label) in enumerate(zip(*images, strict=True)):
                yield index, {"image": image, "label": label}

    return Builder
