"""The paper's tables, row by row: what was printed, and what to train for it.

Numbers are over the iHarmony4 test set at 256 pixels, keyed "GROUP METRIC" by the groups and
metrics of `evaluation.json`: "HCOCO MSE", "All 0%-5% fMSE", "All PSNR".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from harmony_jax.errors import InputError

TEST_IMAGES = 7404  # composites that each number is the mean over


class PaperRow(NamedTuple):
    """One printed line.

    Attributes:
        key: its name in commands, unique in its table.
        label: the method as printed, with what its table's other columns say.
        metrics: numbers as printed, by column.
        model: our name of the model, or None where there is none.
        overrides: config fields in which the experiment differs from the paper's recipe
            (configs/base.py) with this model; None: an earlier report, or weights that are there.
        weights: file of the ImageNet weights that its backbone starts from; empty: none.
    """

    key: str
    label: str
    metrics: Mapping[str, float]
    model: str | None = None
    overrides: Mapping[str, Any] | None = None
    weights: str = ""


class PaperTable(NamedTuple):
    """One table of the paper.

    Attributes:
        number, title: the paper's.
        columns: keys of the rows' metrics, in the printed order.
        rows: in the printed order.
        experiments: number of the table whose experiments these are, its own or an earlier one.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    experiments: int

    def experiment_rows(self) -> list[PaperRow]:
        """The rows that can be trained."""
        return [row for row in self.rows if row.overrides is not None]

    def find(self, key: str) -> PaperRow:
        """The row to train by this name.

        Raises:
            InputError: there is none; it lists those there are.
        """
        rows = {row.key: row for row in self.experiment_rows()}
        if key not in rows:
            raise InputError(f"table {self.number} has no row {key!r}: choose {', '.join(rows)}")
        return rows[key]


def rows_for(model: str) -> list[PaperRow]:
    """Published rows to print beside an evaluation of a model, by subset (columns of table 1).

    Those of the model itself come first, the paper's before the released weights'; where table 1
    lacks the model, the paper's has numbers of the whole set alone. Its rivals in table 1 follow.
    """
    known = (*TABLES[1].rows, *_WHOLE_SET_ROWS, *RELEASED)
    own = [row for row in known if row.model == model]
    return own + [row for row in TABLES[1].rows if row.model != model]


def ratio_rows_for(model: str) -> list[PaperRow]:
    """The same by foreground ratio: rows of table 2, those of the model itself first."""
    return sorted(TABLES[2].rows, key=lambda row: row.model != model)


def find_table(number: int) -> PaperTable:
    """Raises InputError unless the paper has this table."""
    if number not in TABLES:
        raise InputError(f"table {number}: choose one of {', '.join(map(str, TABLES))}")
    return TABLES[number]


_BY_SUBSET = tuple(
    f"{group} {metric}"
    for group in ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night", "All")
    for metric in ("MSE", "PSNR")
)
_BY_RATIO = tuple(
    f"{group} {metric}"
    for group in ("All 0%-5%", "All 5%-15%", "All 15%-100%", "All")
    for metric in ("MSE", "fMSE")
)
_WHOLE_SET = ("All MSE", "All fMSE", "All PSNR")
_MSE_AND_PSNR = ("All MSE", "All PSNR")

_W18S = "hrnet_w18_small_model_v2.pth"
_W18 = "hrnetv2_w18_imagenet_pretrained.pth"
_W32 = "hrnetv2_w32_imagenet_pretrained.pth"
_R34 = "gluon_resnet34_v1b-c6d82d59.pth"

_BOTH = {"model.fuse_into": "both"}
_MSE_LOSS = {"loss.name": "mse"}
_NO_CROP = {"data.random_crop": False}
_NO_FLIP = {"data.random_flip": False}


def _metrics(columns: tuple[str, ...], numbers: str) -> dict[str, float]:
    return dict(zip(columns, map(float, numbers.split()), strict=True))


def _released(model: str, label: str, numbers: str) -> PaperRow:
    metrics = _metrics(_BY_SUBSET, numbers)
    return PaperRow(f"{model}_released", f"{label}, released weights", metrics, model)


def _min_area(model: str, label: str, min_area: int, numbers: str) -> PaperRow:
    key = f"{label.lower()}_{min_area}"
    metrics = _metrics(_MSE_AND_PSNR, numbers)
    overrides = {"loss.min_area": float(min_area)}
    return PaperRow(key, f"{label}, A_min {min_area}", metrics, model, overrides)


# The released code's own report (README of saic-vul/image_harmonization).
RELEASED: tuple[PaperRow, ...] = (
    _released(
        "improved_dih256",
        "iDIH",
        "19.58 38.34  30.84 36.00  84.74 32.58  50.05 37.10  30.70 36.99",
    ),
    _released(
        "improved_ssam256",
        "iS2AM",
        "16.48 39.16  22.60 37.24  69.67 33.56  40.59 37.72  24.65 37.95",
    ),
    _released(
        "deeplab_r34_idih256",
        "iDIH-DeepLab-R34",
        "17.68 38.97  28.13 36.33  70.89 33.25  56.17 37.25  27.37 37.53",
    ),
    _released(
        "hrnet18s_idih256",
        "iDIH-HRNet-W18s",
        "14.30 39.52  22.57 37.18  63.03 33.70  51.20 37.69  22.82 38.15",
    ),
    _released(
        "hrnet18_idih256",
        "iDIH-HRNet-W18",
        "13.79 39.62  25.44 36.91  60.63 33.88  44.94 37.74  22.99 38.16",
    ),
    _released(
        "hrnet18_v2p_idih256",
        "iDIH-HRNet-W18 pyramid",
        "14.10 39.56  24.47 37.04  62.13 33.90  47.74 37.46  23.10 38.15",
    ),
    _released(
        "hrnet32_idih256",
        "iDIH-HRNet-W32",
        "14.00 39.71  23.04 37.13  57.55 34.06  53.70 37.70  22.22 38.29",
    ),
)

_TABLE_1 = PaperTable(
    1,
    "Comparison of methods on the iHarmony4 test sets",
    _BY_SUBSET,
    (
        PaperRow(
            "dih_earlier",
            "DIH (earlier report)",
            _metrics(
                _BY_SUBSET, "51.85 34.69  92.65 32.28  163.38 29.55  82.34 34.62  76.77 33.41"
            ),
        ),
        PaperRow(
            "s2am_earlier",
            "S2AM (earlier report)",
            _metrics(
                _BY_SUBSET, "41.07 35.47  63.40 33.77  143.45 30.03  76.61 34.50  59.67 34.35"
            ),
            "ssam256",
        ),
        PaperRow(
            "dovenet",
            "DoveNet",
            _metrics(
                _BY_SUBSET, "36.72 35.83  52.32 34.34  133.14 30.21  54.05 35.18  52.36 34.75"
            ),
        ),
        PaperRow(
            "dih",
            "DIH+augs+FN-MSE",
            _metrics(_BY_SUBSET, "22.54 37.77  35.58 35.30  90.53 32.00  64.13 36.37  34.70 36.38"),
            "dih256",
            {},
        ),
        PaperRow(
            "idih",
            "iDIH+augs+FN-MSE",
            _metrics(_BY_SUBSET, "19.29 38.44  30.87 36.09  84.10 32.61  55.24 37.26  30.56 37.08"),
            "improved_dih256",
            {},
        ),
        PaperRow(
            "idih_hrnet18s",
            "iDIH-HRNet-W18s",
            _metrics(_BY_SUBSET, "14.01 39.64  21.36 37.35  60.41 34.03  50.61 37.68  22.00 38.31"),
            "hrnet18s_idih256",
            _BOTH,
            _W18S,
        ),
    ),
    experiments=1,
)

_BY_RATIO_NUMBERS = {
    "dih_earlier": "18.92 799.17  64.23 725.86  228.86 768.89  76.77 773.18",
    "s2am_earlier": "15.09 623.11  48.33 540.54  177.62 592.83  59.67 594.67",
    "dovenet": "14.03 591.88  44.90 504.42  152.07 505.82  52.36 549.96",
    "dih": "9.85 420.90  29.39 329.04  100.05 324.41  34.70 375.59",
    "idih": "8.38 366.32  25.39 287.02  89.44 297.94  30.56 330.45",
    "idih_hrnet18s": "6.73 294.76  18.03 204.69  63.02 207.82  22.00 252.00",
}

_TABLE_2 = PaperTable(
    2,
    "MSE and foreground MSE by foreground ratio",
    _BY_RATIO,
    tuple(
        row._replace(metrics=_metrics(_BY_RATIO, _BY_RATIO_NUMBERS[row.key]))
        for row in _TABLE_1.rows
    ),
    experiments=1,
)

_TABLE_3 = PaperTable(
    3,
    "Ablation of horizontal flip, random resized crop (RRC) and FN-MSE",
    _WHOLE_SET,
    (
        PaperRow(
            "dih",
            "DIH",
            _metrics(_WHOLE_SET, "65.65 632.86 34.13"),
            "dih256",
            {**_NO_CROP, **_NO_FLIP, **_MSE_LOSS},
        ),
        PaperRow(
            "dih_flip",
            "DIH, HFlip",
            _metrics(_WHOLE_SET, "55.44 555.92 34.73"),
            "dih256",
            {**_NO_CROP, **_MSE_LOSS},
        ),
        PaperRow(
            "dih_flip_crop",
            "DIH, HFlip, RRC",
            _metrics(_WHOLE_SET, "36.97 398.26 35.92"),
            "dih256",
            _MSE_LOSS,
        ),
        PaperRow(
            "dih_flip_crop_fn_mse",
            "DIH, HFlip, RRC, FN-MSE",
            _metrics(_WHOLE_SET, "34.70 375.59 36.38"),
            "dih256",
            {},
        ),
        PaperRow(
            "idih_flip_crop",
            "iDIH, HFlip, RRC",
            _metrics(_WHOLE_SET, "33.96 378.25 36.53"),
            "improved_dih256",
            _MSE_LOSS,
        ),
        PaperRow(
            "idih_flip_crop_fn_mse",
            "iDIH, HFlip, RRC, FN-MSE",
            _metrics(_WHOLE_SET, "30.56 330.45 37.08"),
            "improved_dih256",
            {},
        ),
        PaperRow(
            "is2am_flip_crop",
            "iS2AM, HFlip, RRC",
            _metrics(_WHOLE_SET, "30.46 335.98 36.91"),
            "improved_ssam256",
            _MSE_LOSS,
        ),
        PaperRow(
            "is2am_flip_crop_fn_mse",
            "iS2AM, HFlip, RRC, FN-MSE",
            _metrics(_WHOLE_SET, "26.92 286.67 37.67"),
            "improved_ssam256",
            {},
        ),
    ),
    experiments=3,
)

# Printed with a column for each A_min.
_TABLE_4 = PaperTable(
    4,
    "Ablation of A_min in the FN-MSE loss",
    _MSE_AND_PSNR,
    (
        _min_area("dih256", "DIH", 1, "124.79 31.87"),
        _min_area("dih256", "DIH", 10, "42.36 35.52"),
        _min_area("dih256", "DIH", 100, "34.70 36.38"),
        _min_area("dih256", "DIH", 1000, "33.84 36.43"),
        _min_area("dih256", "DIH", 10000, "34.24 36.33"),
        _min_area("improved_dih256", "iDIH", 1, "32.41 36.87"),
        _min_area("improved_dih256", "iDIH", 10, "30.50 37.08"),
        _min_area("improved_dih256", "iDIH", 100, "30.56 37.08"),
        _min_area("improved_dih256", "iDIH", 1000, "31.19 37.03"),
        _min_area("improved_dih256", "iDIH", 10000, "31.93 36.81"),
    ),
    experiments=4,
)

_TABLE_5 = PaperTable(
    5,
    "Ablation of the backbone; its features go to encoder and decoder",
    _WHOLE_SET,
    (
        PaperRow(
            "hrnet18s",
            "iDIH-HRNet-W18s",
            _metrics(_WHOLE_SET, "22.00 252.00 38.31"),
            "hrnet18s_idih256",
            _BOTH,
            _W18S,
        ),
        PaperRow(
            "hrnet18s_no_mask",
            "iDIH-HRNet-W18s, non foreground-aware HRNet",
            _metrics(_WHOLE_SET, "26.95 301.39 37.56"),
            "hrnet18s_no_mask_idih256",
            _BOTH,
            _W18S,
        ),
        PaperRow(
            "hrnet18s_pyramid",
            "iDIH-HRNet-W18s, feature pyramid",
            _metrics(_WHOLE_SET, "22.39 256.35 38.23"),
            "hrnet18s_v2p_idih256",
            _BOTH,
            _W18S,
        ),
        PaperRow(
            "hrnet18",
            "iDIH-HRNet-W18",
            _metrics(_WHOLE_SET, "22.55 255.93 38.31"),
            "hrnet18_idih256",
            _BOTH,
            _W18,
        ),
        PaperRow(
            "hrnet32",
            "iDIH-HRNet-W32",
            _metrics(_WHOLE_SET, "23.10 264.58 38.22"),
            "hrnet32_idih256",
            _BOTH,
            _W32,
        ),
        PaperRow(
            "deeplab_r34",
            "iDIH-DeepLabV3+ (R-34)",
            _metrics(_WHOLE_SET, "27.79 310.14 37.49"),
            "deeplab_r34_idih256",
            _BOTH,
            _R34,
        ),
        PaperRow(
            "is2am_hrnet18s",
            "iS2AM-HRNet-W18s",
            _metrics(_WHOLE_SET, "25.14 273.14 37.93"),
            "hrnet18s_issam256",
            _BOTH,
            _W18S,
        ),
        PaperRow(
            "is2am_hrnet18",
            "iS2AM-HRNet-W18",
            _metrics(_WHOLE_SET, "23.22 254.18 38.26"),
            "hrnet18_issam256",
            _BOTH,
            _W18,
        ),
        PaperRow(
            "is2am_hrnet32",
            "iS2AM-HRNet-W32",
            _metrics(_WHOLE_SET, "24.09 266.27 38.00"),
            "hrnet32_issam256",
            _BOTH,
            _W32,
        ),
    ),
    experiments=5,
)


def _aggregation(fuse_into: str, pretrained: bool, numbers: str) -> PaperRow:
    where = "encoder and decoder" if fuse_into == "both" else fuse_into
    return PaperRow(
        f"{fuse_into}_{'imagenet' if pretrained else 'random'}",
        f"iDIH-HRNet-W18s to {where}, {'pre-trained' if pretrained else 'from scratch'}",
        _metrics(_WHOLE_SET, numbers),
        "hrnet18s_idih256",
        {"model.fuse_into": fuse_into},
        _W18S if pretrained else "",
    )


_TABLE_6 = PaperTable(
    6,
    "Ablation of where iDIH-HRNet-W18s takes the backbone's features",
    _WHOLE_SET,
    (
        _aggregation("decoder", False, "23.08 263.41 38.07"),
        _aggregation("decoder", True, "23.39 261.30 38.18"),
        _aggregation("encoder", False, "23.74 265.55 38.01"),
        _aggregation("encoder", True, "22.85 259.77 38.18"),
        _aggregation("both", False, "22.42 256.04 38.17"),
        _aggregation("both", True, "22.00 252.00 38.31"),
    ),
    experiments=6,
)

TABLES: dict[int, PaperTable] = {
    table.number: table for table in (_TABLE_1, _TABLE_2, _TABLE_3, _TABLE_4, _TABLE_5, _TABLE_6)
}

# The paper's numbers for models that table 1 lacks, and for the released form of the one it has.
_WHOLE_SET_ROWS = (
    _TABLE_3.find("is2am_flip_crop_fn_mse"),
    *_TABLE_5.rows[1:],
    _TABLE_6.find("encoder_imagenet"),
)
