"""Table 3: horizontal flip, random resized crop and FN-MSE, each on and off.

MSE / fMSE / PSNR, published:

    dih                     DIH                        65.65 / 632.86 / 34.13
    dih_flip                DIH, HFlip                 55.44 / 555.92 / 34.73
    dih_flip_crop           DIH, HFlip, RRC            36.97 / 398.26 / 35.92
    dih_flip_crop_fn_mse    DIH, HFlip, RRC, FN-MSE    34.70 / 375.59 / 36.38
    idih_flip_crop          iDIH, HFlip, RRC           33.96 / 378.25 / 36.53
    idih_flip_crop_fn_mse   iDIH, HFlip, RRC, FN-MSE   30.56 / 330.45 / 37.08
    is2am_flip_crop         iS2AM, HFlip, RRC          30.46 / 335.98 / 36.91
    is2am_flip_crop_fn_mse  iS2AM, HFlip, RRC, FN-MSE  26.92 / 286.67 / 37.67

All rows, and ours beside the published ones; one row:

    python scripts/run_table.py 3 --workdir=runs/table3 --config.data.root=IHARMONY4
    python main.py --config=configs/table3.py:dih_flip --workdir=runs/table3/dih_flip \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs.paper_rows import row_config


def get_config(row: str = "") -> ConfigDict:
    return row_config(3, row)
