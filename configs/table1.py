"""Table 1: this code's rows of the comparison with earlier methods, and those of table 2.

MSE / PSNR of all subsets together, published:

    dih            DIH+augs+FN-MSE   34.70 / 36.38
    idih           iDIH+augs+FN-MSE  30.56 / 37.08
    idih_hrnet18s  iDIH-HRNet-W18s   22.00 / 38.31

The last one starts from hrnet_w18_small_model_v2.pth.

All rows, and ours beside the published ones; one row:

    python scripts/run_table.py 1 --workdir=runs/table1 --config.data.root=IHARMONY4 \\
        --imagenet=FOLDER
    python main.py --config=configs/table1.py:idih --workdir=runs/table1/idih \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs.paper_rows import row_config


def get_config(row: str = "") -> ConfigDict:
    return row_config(1, row)
