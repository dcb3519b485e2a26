"""Table 5: the backbone. Its features are passed to encoder and decoder both.

MSE / fMSE / PSNR, published:

    hrnet18s          iDIH-HRNet-W18s                              22.00 / 252.00 / 38.31
    hrnet18s_no_mask  iDIH-HRNet-W18s, non foreground-aware HRNet  26.95 / 301.39 / 37.56
    hrnet18s_pyramid  iDIH-HRNet-W18s, feature pyramid             22.39 / 256.35 / 38.23
    hrnet18           iDIH-HRNet-W18                               22.55 / 255.93 / 38.31
    hrnet32           iDIH-HRNet-W32                               23.10 / 264.58 / 38.22
    deeplab_r34       iDIH-DeepLabV3+ (R-34)                       27.79 / 310.14 / 37.49
    is2am_hrnet18s    iS2AM-HRNet-W18s                             25.14 / 273.14 / 37.93
    is2am_hrnet18     iS2AM-HRNet-W18                              23.22 / 254.18 / 38.26
    is2am_hrnet32     iS2AM-HRNet-W32                              24.09 / 266.27 / 38.00

Each row starts from the ImageNet weights that docs/experiments.md names.

All rows, and ours beside the published ones; one row:

    python scripts/run_table.py 5 --workdir=runs/table5 --config.data.root=IHARMONY4 \\
        --imagenet=FOLDER
    python main.py --config=configs/table5.py:hrnet18s --workdir=runs/table5/hrnet18s \\
        --config.data.root=IHARMONY4 --config.init.backbone=hrnet_w18_small_model_v2.pth
"""

from ml_collections import ConfigDict

from configs.paper_rows import row_config


def get_config(row: str = "") -> ConfigDict:
    return row_config(5, row)
