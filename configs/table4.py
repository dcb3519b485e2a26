"""Table 4: A_min of the FN-MSE loss, in pixels, with DIH and iDIH.

MSE / PSNR, published:

    dih_1       DIH, A_min 1       124.79 / 31.87
    dih_10      DIH, A_min 10       42.36 / 35.52
    dih_100     DIH, A_min 100      34.70 / 36.38
    dih_1000    DIH, A_min 1000     33.84 / 36.43
    dih_10000   DIH, A_min 10000    34.24 / 36.33
    idih_1      iDIH, A_min 1       32.41 / 36.87
    idih_10     iDIH, A_min 10      30.50 / 37.08
    idih_100    iDIH, A_min 100     30.56 / 37.08
    idih_1000   iDIH, A_min 1000    31.19 / 37.03
    idih_10000  iDIH, A_min 10000   31.93 / 36.81

All rows, and ours beside the published ones; one row:

    python scripts/run_table.py 4 --workdir=runs/table4 --config.data.root=IHARMONY4
    python main.py --config=configs/table4.py:idih_1000 --workdir=runs/table4/idih_1000 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs.paper_rows import row_config


def get_config(row: str = "") -> ConfigDict:
    return row_config(4, row)
