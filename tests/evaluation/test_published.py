"""The paper's numbers, against each other and against what else in this repository quotes them."""

import numpy as np
import pytest

from harmony_jax import InputError, list_models
from harmony_jax.data.iharmony4 import PUBLISHED
from harmony_jax.evaluation.published import (
    RELEASED,
    TABLES,
    TEST_IMAGES,
    find_table,
    ratio_rows_for,
    rows_for,
)
from harmony_jax.weights.downloads import FILES

COUNTS = PUBLISHED["test"]


def cell(table: int, key: str, column: str) -> float:
    return {row.key: row for row in TABLES[table].rows}[key].metrics[column]


def test_cells():
    """Spot checks against the paper."""
    assert cell(1, "dovenet", "HFlickr MSE") == 133.14
    assert cell(1, "idih_hrnet18s", "Hday2night PSNR") == 37.68
    assert cell(2, "s2am_earlier", "All 15%-100% fMSE") == 592.83
    assert cell(2, "idih", "All 0%-5% MSE") == 8.38
    assert cell(3, "dih_flip", "All fMSE") == 555.92
    assert cell(4, "idih_1000", "All MSE") == 31.19
    assert cell(4, "dih_10000", "All PSNR") == 36.33
    assert cell(5, "deeplab_r34", "All fMSE") == 310.14
    assert cell(5, "is2am_hrnet32", "All PSNR") == 38.00
    assert cell(6, "decoder_random", "All MSE") == 23.08


def test_the_whole_set_is_the_mean_of_the_subsets():
    assert sum(COUNTS.values()) == TEST_IMAGES
    for row in (*TABLES[1].rows, *RELEASED):
        for metric in ("MSE", "PSNR"):
            values = [row.metrics[f"{subset} {metric}"] for subset in COUNTS]
            mean = np.average(values, weights=list(COUNTS.values()))
            # Each number is rounded to 0.01, in the earlier report some are off by one more.
            assert mean == pytest.approx(row.metrics[f"All {metric}"], abs=0.015), row


def test_the_whole_set_is_one_mean_of_the_ratio_ranges():
    """With the same three shares in every row, for MSE and fMSE alike."""
    ranges = ("All 0%-5%", "All 5%-15%", "All 15%-100%")
    lines = [
        [row.metrics[f"{group} {metric}"] for group in (*ranges, "All")]
        for row in TABLES[2].rows
        for metric in ("MSE", "fMSE")
    ]
    parts, whole = np.split(np.array(lines), [3], axis=1)
    shares = np.linalg.lstsq(parts / whole, np.ones(len(whole)), rcond=None)[0]
    assert shares.sum() == pytest.approx(1, abs=0.002)
    np.testing.assert_allclose(parts @ shares, whole[:, 0], rtol=0.005)


@pytest.mark.parametrize(
    "places",
    [
        [(1, "dih"), (2, "dih"), (3, "dih_flip_crop_fn_mse"), (4, "dih_100")],
        [(1, "idih"), (2, "idih"), (3, "idih_flip_crop_fn_mse"), (4, "idih_100")],
        [(1, "idih_hrnet18s"), (2, "idih_hrnet18s"), (5, "hrnet18s"), (6, "both_imagenet")],
    ],
)
def test_a_method_has_the_same_numbers_in_every_table(places):
    for metric in ("All MSE", "All fMSE", "All PSNR"):
        found = {cell(*place, metric) for place in places if metric in TABLES[place[0]].columns}
        assert len(found) == 1


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.number)
def test_a_table_is_whole(table):
    keys = [row.key for row in table.rows]
    assert len(set(keys)) == len(keys)
    for row in table.rows:
        assert tuple(row.metrics) == table.columns
        assert row.model is None or row.model in list_models()
        assert row.overrides is None or row.model


def test_table_2_is_of_the_trainings_of_table_1():
    first, second = (TABLES[number].experiment_rows() for number in (1, 2))
    assert [row._replace(metrics={}) for row in first] == [
        row._replace(metrics={}) for row in second
    ]


def test_what_a_row_trains():
    """Spot checks against the tables' columns in the paper."""
    rows = {(number, row.key): row for number in TABLES for row in TABLES[number].rows}
    assert rows[3, "dih_flip"].overrides == {"data.random_crop": False, "loss.name": "mse"}
    assert rows[3, "idih_flip_crop_fn_mse"].overrides == {}
    assert rows[4, "dih_1000"].overrides == {"loss.min_area": 1000}
    assert {row.overrides["model.fuse_into"] for row in TABLES[5].rows} == {"both"}
    assert rows[6, "decoder_random"].overrides == {"model.fuse_into": "decoder"}
    assert rows[6, "decoder_random"].weights == ""
    assert rows[1, "dovenet"].overrides is None


def test_a_row_on_a_backbone_names_its_imagenet_weights():
    weights = {
        "hrnet18s": "hrnet_w18_small_model_v2.pth",
        "hrnet18": "hrnetv2_w18_imagenet_pretrained.pth",
        "hrnet32": "hrnetv2_w32_imagenet_pretrained.pth",
        "deeplab": "gluon_resnet34_v1b-c6d82d59.pth",
    }
    for row in (row for table in TABLES.values() for row in table.rows):
        backbone = (row.model or "").split("_")[0]
        assert row.weights == ("" if row.key.endswith("_random") else weights.get(backbone, ""))


def test_the_released_weights_are_those_that_can_be_downloaded():
    assert {row.model for row in RELEASED} == set(FILES)


def test_rows_to_print_beside_a_model():
    labels = [row.label for row in rows_for("hrnet18s_idih256")]
    assert labels[:3] == [
        "iDIH-HRNet-W18s",
        "iDIH-HRNet-W18s to encoder, pre-trained",
        "iDIH-HRNet-W18s, released weights",
    ]
    assert {"DIH (earlier report)", "S2AM (earlier report)", "DoveNet"} < set(labels)
    assert len(set(labels)) == len(labels)
    assert rows_for("iseunetv1_256") == list(TABLES[1].rows)
    ratio = ratio_rows_for("improved_dih256")
    assert ratio[0].metrics["All 0%-5% fMSE"] == 366.32
    assert sorted(ratio, key=str) == sorted(TABLES[2].rows, key=str)


def test_what_is_not_there():
    with pytest.raises(InputError, match="table 7: choose one of 1, 2"):
        find_table(7)
    with pytest.raises(InputError, match="table 1 has no row 'dovenet': choose dih, idih"):
        TABLES[1].find("dovenet")
