"""iDIH on the four scales of HRNet-W18-small, without the OCR head: an ablation.

No published numbers. The released code has the option, without a training script; the recipe is
hrnet18s_idih256's.

    python main.py --config=configs/hrnet18s_multiscale_idih256.py \\
        --workdir=runs/hrnet18s_multiscale_idih256 --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnet_w18_small_model_v2.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet18s_multiscale_idih256"
    return config
