"""iDIH on the foreground-aware HRNet-W18-small with OCR, at 256 pixels.

The released weights, which are of this config: MSE 22.82, PSNR 38.15. Published for it (paper,
table 6): MSE 22.85, fMSE 259.77, PSNR 38.18; for the paper's best model (tables 1, 5 and 6), which
passes the features to the decoder as well (--config.model.fuse_into=both): MSE 22.00, fMSE 252.00,
PSNR 38.31.

    python main.py --config=configs/hrnet18s_idih256.py --workdir=runs/hrnet18s_idih256 \\
        --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnet_w18_small_model_v2.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet18s_idih256"
    return config
