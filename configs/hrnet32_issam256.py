"""iS2AM on the foreground-aware HRNet-W32 with OCR, at 256 pixels.

Published (paper, table 5) for features passed to encoder and decoder both
(--config.model.fuse_into=both): MSE 24.09, fMSE 266.27, PSNR 38.00. The released
code has the model, without a training script; the recipe is hrnet18_issam256's.

    python main.py --config=configs/hrnet32_issam256.py --workdir=runs/hrnet32_issam256 \\
        --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnetv2_w32_imagenet_pretrained.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet32_issam256"
    return config
