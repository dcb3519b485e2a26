import cv2
import numpy as np
import pytest

from harmony_jax.data.iharmony4 import read_list
from harmony_jax.data.prepared import parse_record
from harmony_jax.data.preparing.records import make_record
from tests.made_data import write_iharmony4


@pytest.mark.parametrize(("size", "shrunk"), [((1500, 901), (1024, 615)), ((700, 1024), None)])
def test_hadobe5k_is_shrunk_as_the_released_notebook_does(tmp_path, size, shrunk):
    write_iharmony4(tmp_path, train=4, test=4, size=size)
    (tmp_path / "HCOCO").rename(tmp_path / "HAdobe5k")
    (tmp_path / "HAdobe5k" / "HCOCO_train.txt").rename(tmp_path / "HAdobe5k" / "HAdobe5k_train.txt")
    sample = read_list(str(tmp_path), "HAdobe5k", "train")[0]
    record = parse_record(make_record(sample))
    for key, path in (("composite", sample.composite), ("real", sample.real)):
        expected = path.read_bytes()
        if shrunk:
            image = cv2.resize(
                cv2.imread(str(path)), shrunk[::-1], interpolation=cv2.INTER_LANCZOS4
            )
            expected = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        assert record[key] == expected
    mask = cv2.imread(str(sample.mask), cv2.IMREAD_UNCHANGED)
    if shrunk:
        mask = cv2.resize(mask, shrunk[::-1], interpolation=cv2.INTER_LANCZOS4)
    png = np.frombuffer(record["mask"], np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(png, cv2.IMREAD_UNCHANGED), mask)
    other = read_list(str(tmp_path), "HFlickr", "train")[0]
    assert parse_record(make_record(other))["real"] == other.real.read_bytes()
