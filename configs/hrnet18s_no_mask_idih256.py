"""iDIH on HRNet-W18-small that does not see the mask, at 256 pixels: an ablation.

Published (paper, table 5) for features passed to encoder and decoder both
(--config.model.fuse_into=both): MSE 26.95, fMSE 301.39, PSNR 37.56.

    python main.py --config=configs/hrnet18s_no_mask_idih256.py \\
        --workdir=runs/hrnet18s_no_mask_idih256 --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnet_w18_small_model_v2.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet18s_no_mask_idih256"
    return config
