"""Features that are kept in files: computed once, and again where they were damaged."""

import numpy as np
import pytest

from experiments.data.cached_features import CHUNK, cached_features


def test_features_are_computed_once_and_survive_an_interruption(tmp_path):
    images, calls = np.arange(2 * CHUNK, dtype=np.float32)[:, None], []

    def extract(chunk):
        calls.append(len(chunk))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 2 * chunk

    with pytest.raises(KeyboardInterrupt):
        cached_features(extract, images, "double", tmp_path)
    np.testing.assert_array_equal(cached_features(extract, images, "double", tmp_path), 2 * images)
    assert len(calls) == 3
    cached_features(extract, images, "double", tmp_path)
    assert len(calls) == 3
    cached_features(extract, images, "another", tmp_path)
    assert len(calls) == 5


def test_features_that_were_damaged_are_computed_again(tmp_path):
    images = np.ones((3, 2), np.float32)
    cached_features(lambda chunk: 2 * chunk, images, "double", tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    np.testing.assert_array_equal(cached_features(lambda chunk: 2 * chunk, images, "double", tmp_path), 2 * images)
