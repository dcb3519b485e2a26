import json
import shutil
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from harmony_jax import InputError
from harmony_jax.data.batching import Augmentation, BatchOrder
from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.pipeline import training_batches
from harmony_jax.data.prepared import PreparedSource, parse_record
from harmony_jax.data.preparing import prepare as prepare_module
from harmony_jax.data.preparing.prepare import prepare
from harmony_jax.data.sources import Numbered
from harmony_jax.data.splits import open_split
from tests.made_data import SUBSETS, tiny_config, write_iharmony4


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("downloaded")
    write_iharmony4(root, train=24, test=8)
    soft = root / "HCOCO" / "masks" / "train000_1.png"
    mask = cv2.GaussianBlur(cv2.imread(str(soft), cv2.IMREAD_GRAYSCALE), (9, 9), 0)
    cv2.imwrite(str(soft), np.stack([mask] * 3, -1))
    return root


@pytest.fixture(scope="module")
def prepared(root, tmp_path_factory):
    """A set of several files: 24 training samples in files of 5."""
    output = tmp_path_factory.mktemp("prepared") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_module, "_RECORDS_PER_SHARD", 5)
        prepare(root, output, SUBSETS)
    return output


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for index in range(len(expected)):
        for ask in ("name", "subset", "photo"):
            assert getattr(found, ask)(index) == getattr(expected, ask)(index)
        for key, pixels in expected[index].items():
            np.testing.assert_array_equal(found[index][key], pixels)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("subsets", [SUBSETS, SUBSETS[::-1], SUBSETS[1:]])
def test_samples_are_those_of_the_folders_at_the_same_numbers(root, prepared, split, subsets):
    folder = IHarmony4Source(str(root), split, subsets)
    assert_same(PreparedSource(str(prepared), split, subsets), folder)


def test_a_config_opens_the_same_sets_in_either_form(root, prepared):
    found, expected = (open_split(tiny_config(x).data, "validation") for x in (prepared, root))
    assert_same(found, expected)


def test_worker_processes_read_it_after_this_one_did(root, prepared):
    source = PreparedSource(str(prepared), "train", SUBSETS)
    assert source[7]
    arguments = Numbered(source, "error"), Augmentation(32), BatchOrder(4, seed=0)
    inside = training_batches(*arguments, num_workers=0)
    outside = training_batches(*arguments, num_workers=1)
    for _ in range(6):
        np.testing.assert_array_equal(next(outside)["real"], next(inside)["real"])
    outside.close()


def test_tfds_opens_it_as_a_data_set_without_tensorflow(root, prepared):
    builder = tfds.builder_from_directory(prepared)
    assert (builder.info.name, str(builder.info.version)) == ("iharmony4", "1.0.0")
    assert builder.info.splits["train"].num_examples == 24
    assert builder.info.splits["train"].num_shards == 5
    for split in ("train", "test"):
        expected = IHarmony4Source(str(root), split, SUBSETS)
        found = builder.as_data_source(split=split)
        assert len(found) == len(expected)
        for index, example in enumerate(found):
            assert example["name"].decode() == expected.name(index)
            assert example["subset"].decode() == expected.subset(index)
            np.testing.assert_array_equal(example["real"], expected[index]["real"])
            np.testing.assert_array_equal(example["composite"], expected[index]["composite"])
            np.testing.assert_array_equal(example["mask"][..., 0], expected[index]["mask"])
    assert "tensorflow" not in sys.modules


def test_tfds_is_imported_when_a_set_is_opened(prepared, monkeypatch):
    """Importing it with the first record would break imports of the thread that saves."""
    monkeypatch.delitem(sys.modules, "tensorflow_datasets.proto")
    source = PreparedSource(str(prepared), "train", SUBSETS)
    assert "tensorflow_datasets.proto" in sys.modules
    assert source[0]["mask"].any()


@pytest.fixture
def copy(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "copy")


def read_all(folder, subsets) -> None:
    config = tiny_config(folder)
    config.data.subsets = subsets
    config.data.validation_fraction = 0.0
    source = open_split(config.data, "train")
    for index in range(len(source)):
        source[index]


def refuse(folder, *patterns, subsets=SUBSETS):
    """Opening the set, or reading it from end to end, fails in one line that names it."""
    with pytest.raises(InputError) as error:
        read_all(folder, subsets)
    message = str(error.value)
    assert "\n" not in message
    for pattern in (str(folder), *patterns):
        assert pattern in message, message


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_version_or_data_set(copy):
    change_json(copy / "dataset_info.json", version="1.7.3")
    assert len(PreparedSource(str(copy), "train", SUBSETS)) == 24
    change_json(copy / "dataset_info.json", version="2.0.0")
    refuse(copy, "version 2.0.0", "reads 1.0.0", "prepare_iharmony4.py")
    change_json(copy / "dataset_info.json", name="mnist", version="1.0.0")
    refuse(copy, "named 'mnist', expected 'iharmony4'")
    (copy / "dataset_info.json").write_text("{")
    refuse(copy, "dataset_info.json: cannot be read")


def test_subsets_that_it_lacks(copy):
    refuse(copy, "HCOCO, HFlickr, without HAdobe5k", subsets=("HCOCO", "HAdobe5k"))


def test_files_that_are_missing_cut_off_damaged_or_exchanged(copy):
    first, second, third = sorted(copy.glob("iharmony4-train*"))[:3]
    data, other = first.read_bytes(), second.read_bytes()
    again = f"remove {copy} and run scripts/prepare_iharmony4.py again"
    second.unlink()
    refuse(copy, f"{second.name}: not found (1 of 5 files", again)
    second.write_bytes(third.read_bytes())
    refuse(copy, f"{second.name}: holds", "in the place of HCOCO/train002_1_1.jpg", again)
    second.write_bytes(other)
    for damage in (data[:70000], b"", data[:100] + b"?" + data[101:]):
        first.write_bytes(damage)
        refuse(copy, f"{first.name}: damaged", again)
    ArrayRecordWriter(str(first), "group_size:1").close()
    refuse(copy, f"{first.name}: damaged (0 records, expected 5)", again)
    first.write_bytes(data)
    metadata = json.loads((copy / "metadata.json").read_text())
    metadata["names"]["train"]["HCOCO"].pop()
    change_json(copy / "metadata.json", **metadata)
    refuse(copy, "metadata.json: 23 names", "24 records", again)
    (copy / "metadata.json").unlink()
    refuse(copy, "metadata.json: cannot be read", again)


def test_where_there_is_no_array_record(root, prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record", None)
    refuse(prepared, "prepared sets need array_record", "use the downloaded folders")
    with pytest.raises(InputError, match=f"^{tmp_path}: prepared sets need array_record"):
        prepare(root, tmp_path, SUBSETS)
    assert not list(tmp_path.iterdir())
    read_all(root, SUBSETS)


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x0a\x05\x0a\x03\x0a\x01a"])
def test_what_is_no_record(data):
    with pytest.raises(ValueError, match="a record cannot be parsed"):
        parse_record(data)
