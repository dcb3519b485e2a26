"""iDIH on a feature pyramid of the foreground-aware HRNet-W18, at 256 pixels.

Four maps are passed to the encoder instead of one. The released weights, which are of this config:
MSE 23.10, PSNR 38.15.

    python main.py --config=configs/hrnet18_v2p_idih256.py --workdir=runs/hrnet18_v2p_idih256 \\
        --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnetv2_w18_imagenet_pretrained.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet18_v2p_idih256"
    return config
