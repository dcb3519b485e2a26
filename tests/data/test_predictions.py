import cv2
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.predictions import Predictions
from tests.made_data import SUBSETS


@pytest.fixture
def source(mini_root):
    return IHarmony4Source(str(mini_root), "test", SUBSETS)


def test_found_in_either_place(source, tmp_path):
    for index in range(len(source)):
        place = tmp_path / source.subset(index)
        place.mkdir(exist_ok=True)
        name = source.name(index).replace(".jpg", (".png", ".PNG")[index % 2])
        cv2.imwrite(str(place / name), np.full((32, 32, 3), index, np.uint8))
    predictions = Predictions(tmp_path, source)
    for index in range(len(source)):
        assert (predictions.read(index, {(32, 32)}) == index).all()
    flat = tmp_path / "flat"
    flat.mkdir()
    for index in range(len(source)):
        cv2.imwrite(str(flat / source.name(index)), np.zeros((32, 32, 3), np.uint8))
    assert not Predictions(flat, source).read(0, {(32, 32)}).any()
    with pytest.raises(InputError, match=r"32x32 \(height x width\): expected 31x32 or 40x48"):
        Predictions(flat, source).read(0, {(40, 48), (31, 32)})


def test_bad_folders(source, tmp_path):
    with pytest.raises(InputError, match="no such folder of predictions"):
        Predictions(tmp_path / "nowhere", source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no prediction for HCOCO/.*\(6 of 6 are missing\)"):
        Predictions(tmp_path / "empty", source)
