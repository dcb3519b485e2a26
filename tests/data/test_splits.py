import pytest

from harmony_jax import InputError
from harmony_jax.data.iharmony4 import photo_of, scene_of
from harmony_jax.data.splits import hold_out, open_set, open_split
from tests.made_data import Numbers, tiny_config


def names(source) -> list[int]:
    return [int(source.name(index)) for index in range(len(source))]


def test_held_out_samples_share_no_photo_with_the_rest_and_none_is_lost():
    training, validation = hold_out(Numbers(), 0.25, seed=0)
    assert sorted(names(training) + names(validation)) == list(range(60))
    assert len(validation) == 15  # 5 of 20 photos
    assert not {n // 3 for n in names(training)} & {n // 3 for n in names(validation)}
    assert names(validation) == names(hold_out(Numbers(), 0.25, seed=0)[1])
    assert names(validation) != names(hold_out(Numbers(), 0.25, seed=1)[1])
    assert not len(hold_out(Numbers(), 0.0, seed=0)[1])


def test_photos_of_one_scene_of_hday2night_stay_together():
    class Days(Numbers):
        def photo(self, index: int) -> str:  # names as published
            return photo_of("Hday2night", f"d{index // 6}-20130410-{index // 3}_1_{index % 3}.jpg")

    training, validation = hold_out(Days(), 0.25, seed=0)
    assert len(training) + len(validation) == 60
    assert len({n // 6 for n in names(validation)}) == 3  # of 10 scenes
    assert not {n // 6 for n in names(training)} & {n // 6 for n in names(validation)}
    assert scene_of("HFlickr/f-1.jpg") == "HFlickr/f-1.jpg"


def test_without_validation_nothing_is_held_out(mini_root):
    config = tiny_config(mini_root)
    sizes = {split: len(open_set(config, split)) for split in ("train", "validation", "test")}
    # Of 14 the composites of 2 of 8 photos are held out.
    assert sizes == {"train": 10, "validation": 4, "test": 6}
    config.evaluation.every_epochs = 0
    assert [len(open_set(config, split)) for split in ("train", "validation")] == [14, 0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "coco", r"data\.name 'coco'"),
        ("test_root", "/tmp", r"data\.test_root /tmp: data\.name 'iharmony4'"),
        ("subsets", (), r"data\.subsets is empty"),
    ],
)
def test_invalid_fields(mini_root, field, value, message):
    data = tiny_config(mini_root).data
    data[field] = value
    with pytest.raises(InputError, match=message):
        open_split(data, "train")


def test_an_unknown_split(mini_root):
    with pytest.raises(InputError, match="split 'holdout'"):
        open_split(tiny_config(mini_root).data, "holdout")
