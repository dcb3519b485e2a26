"""iS2AM on the foreground-aware HRNet-W18-small with OCR, at 256 pixels.

Published (paper, table 5) for features passed to encoder and decoder both
(--config.model.fuse_into=both): MSE 25.14, fMSE 273.14, PSNR 37.93.

    python main.py --config=configs/hrnet18s_issam256.py --workdir=runs/hrnet18s_issam256 \\
        --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnet_w18_small_model_v2.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet18s_issam256"
    return config
