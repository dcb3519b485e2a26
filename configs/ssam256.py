"""S2AM at 256 pixels: a U-Net with spatial separated attention (Cun and Pun, 2020).

The paper quotes an earlier report (tables 1 and 2): MSE 59.67, fMSE 594.67, PSNR 34.35, without
the augmentation used here.

    python main.py --config=configs/ssam256.py --workdir=runs/ssam256 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "ssam256"
    config.loss.name = "mse"  # released script
    return config
