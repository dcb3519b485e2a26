"""iDIH at 256 pixels: DIH with the blending layer (paper, tables 1 and 3).

Published (iHarmony4 test set): MSE 30.56, fMSE 330.45, PSNR 37.08; released weights: MSE 30.70,
PSNR 36.99.

    python main.py --config=configs/improved_dih256.py --workdir=runs/improved_dih256 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "improved_dih256"
    return config
