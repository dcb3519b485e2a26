"""iS2AM at 256 pixels: S2AM with the blending layer and half the channels (paper, table 3).

Published (iHarmony4 test set): MSE 26.92, fMSE 286.67, PSNR 37.67; released weights: MSE 24.65,
PSNR 37.95.

    python main.py --config=configs/improved_ssam256.py --workdir=runs/improved_ssam256 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "improved_ssam256"
    config.loss.min_area = 1000.0  # released script
    return config
