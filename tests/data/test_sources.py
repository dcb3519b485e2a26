import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data.iharmony4 import photo_of, scene_of
from harmony_jax.data.sources import Selection
from harmony_jax.data.splits import hold_out, open_set
from tests.made_data import tiny_config


class Numbers:
    """Sample i of photo i // 3."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> dict:
        pixels = np.full((2, 2, 3), index, np.uint8)
        return {"composite": pixels, "real": pixels, "mask": pixels[..., 0]}

    def subset(self, index: int) -> str:
        return "A" if index < 30 else "B"

    def name(self, index: int) -> str:
        return str(index)

    def photo(self, index: int) -> str:
        return str(index // 3)


def names(source) -> list[int]:
    return [int(source.name(index)) for index in range(len(source))]


def test_held_out_samples_share_no_photo_with_the_rest_and_none_is_lost():
    training, validation = hold_out(Numbers(), 0.25, seed=0)
    assert sorted(names(training) + names(validation)) == list(range(60))
    assert len(validation) == 15  # 5 of 20 photos
    assert not {n // 3 for n in names(training)} & {n // 3 for n in names(validation)}
    assert names(validation) == names(hold_out(Numbers(), 0.25, seed=0)[1])
    assert names(validation) != names(hold_out(Numbers(), 0.25, seed=1)[1])


def test_photos_of_one_scene_of_hday2night_stay_together():
    class Days(Numbers):
        def photo(self, index: int) -> str:  # names as published
            return photo_of("Hday2night", f"d{index // 6}-20130410-{index // 3}_1_{index % 3}.jpg")

    training, validation = hold_out(Days(), 0.25, seed=0)
    assert len(training) + len(validation) == 60
    assert len({n // 6 for n in names(validation)}) == 3  # of 10 scenes
    assert not {n // 6 for n in names(training)} & {n // 6 for n in names(validation)}
    by_photo = hold_out(Days(), 0.25, seed=0, scene=lambda photo: photo)[1]
    assert len({n // 3 for n in names(by_photo)}) == 5  # of 20 photos
    assert scene_of("HFlickr/f-1.jpg") == "HFlickr/f-1.jpg"


def test_without_validation_nothing_is_held_out(mini_root):
    config = tiny_config(mini_root)
    assert [len(open_set(config, split)) for split in ("train", "validation")] == [10, 4]
    config.evaluation.every_epochs = 0
    assert [len(open_set(config, split)) for split in ("train", "validation")] == [14, 0]
    config.data.validation_by = "photo"  # begun by older code
    assert [len(open_set(config, split)) for split in ("train", "validation")] == [10, 4]
    config.data.validation_by = "day"
    with pytest.raises(InputError, match=r"data\.validation_by 'day': choose 'scene' or 'photo'"):
        open_set(config, "train")


def test_nothing_is_held_out_for_a_fraction_of_zero():
    training, validation = hold_out(Numbers(), 0.0, seed=0)
    assert (len(training), len(validation)) == (60, 0)


def test_a_selection_is_a_source_of_its_samples():
    chosen = Selection(Numbers(), [31, 4, 4])
    assert names(chosen) == [31, 4, 4]
    assert [chosen.subset(i) for i in range(3)] == ["B", "A", "A"]
    assert chosen.photo(1) == "1"
    assert chosen[0]["composite"][0, 0, 0] == 31
