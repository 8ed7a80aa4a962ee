"""Images as tensorflow-datasets keeps them: prepared once in array_record files, read without TensorFlow."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.image_files import Images
from experiments.store import Refused

__all__ = ["read_prepared", "write_prepared"]

VERSION = "1.0.0"


def read_prepared(name: str, data_dir: Path) -> tuple[tuple[Images, Images], Mapping[str, str]] | None:
    """(train, test) and the notes left with them, or None where ``data_dir`` holds no prepared copy of this name.

    Raises:
        Refused: the copy is damaged.
    """
    folder = data_dir / name / VERSION
    if not (folder / "dataset_info.json").exists():
        return None
    import tensorflow_datasets as tfds

    try:
        builder: Any = tfds.builder_from_directory(folder)
        train, test = (_stacked(builder.as_data_source(split=split)) for split in ("train", "test"))
        return (train, test), {key: str(note) for key, note in (builder.info.metadata or {}).items()}
    except Exception as error:  # whatever tensorflow-datasets and its readers raise of a damaged copy
        problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Refused([f"{folder}: cannot be read ({problem}); delete it to prepare it anew"]) from error


def write_prepared(name: str, data_dir: Path, splits: Mapping[str, Images], notes: Mapping[str, str]) -> None:
    """Prepare a copy under ``data_dir``; it appears whole, by a rename."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    _builder_class(tfds, name)(splits, notes, data_dir=data_dir, file_format="array_record").download_and_prepare()


def _stacked(source: Any) -> Images:
    records = source.__getitems__(range(len(source)))
    return Images(*(np.stack([record[field] for record in records]).astype(np.uint8) for field in ("image", "label")))


def _builder_class(tfds: Any, of_name: str) -> Any:
    """Our own builder: the stock ones of these data sets cannot build without TensorFlow."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore
        """Images and labels at hand, as tensors of bytes."""

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
