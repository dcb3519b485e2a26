"""iDIH on the foreground-aware DeepLabV3+ with ResNet-34, at 256 pixels.

The released weights, which are of this config: MSE 27.37, PSNR 37.53. Published (paper, table 5)
for features passed to encoder and decoder both (--config.model.fuse_into=both): MSE 27.79, fMSE
310.14, PSNR 37.49.

    python main.py --config=configs/deeplab_r34_idih256.py --workdir=runs/deeplab_r34_idih256 \\
        --config.data.root=IHARMONY4 \\
        --config.init.backbone=gluon_resnet34_v1b-c6d82d59.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "deeplab_r34_idih256"
    return config
