"""Table 6: where iDIH takes the features of HRNet-W18-small, and what HRNet starts from.

MSE / fMSE / PSNR, published:

    decoder_random    iDIH-HRNet-W18s to decoder, from scratch              23.08 / 263.41 / 38.07
    decoder_imagenet  iDIH-HRNet-W18s to decoder, pre-trained               23.39 / 261.30 / 38.18
    encoder_random    iDIH-HRNet-W18s to encoder, from scratch              23.74 / 265.55 / 38.01
    encoder_imagenet  iDIH-HRNet-W18s to encoder, pre-trained               22.85 / 259.77 / 38.18
    both_random       iDIH-HRNet-W18s to encoder and decoder, from scratch  22.42 / 256.04 / 38.17
    both_imagenet     iDIH-HRNet-W18s to encoder and decoder, pre-trained   22.00 / 252.00 / 38.31

Rows in _imagenet start from hrnet_w18_small_model_v2.pth, those in _random leave
--config.init.backbone unset.

All rows, and ours beside the published ones; one row:

    python scripts/run_table.py 6 --workdir=runs/table6 --config.data.root=IHARMONY4 \\
        --imagenet=FOLDER
    python main.py --config=configs/table6.py:both_imagenet --workdir=runs/table6/both_imagenet \\
        --config.data.root=IHARMONY4 --config.init.backbone=hrnet_w18_small_model_v2.pth
"""

from ml_collections import ConfigDict

from configs.paper_rows import row_config


def get_config(row: str = "") -> ConfigDict:
    return row_config(6, row)
