"""iS2AM on the foreground-aware HRNet-W18 with OCR, at 256 pixels.

Published (paper, table 5) for features passed to encoder and decoder both
(--config.model.fuse_into=both): MSE 23.22, fMSE 254.18, PSNR 38.26.

    python main.py --config=configs/hrnet18_issam256.py --workdir=runs/hrnet18_issam256 \\
        --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnetv2_w18_imagenet_pretrained.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet18_issam256"
    return config
