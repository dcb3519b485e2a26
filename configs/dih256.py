"""DIH at 256 pixels: the encoder-decoder alone (paper, tables 1 and 3).

Published (iHarmony4 test set): MSE 34.70, fMSE 375.59, PSNR 36.38.

    python main.py --config=configs/dih256.py --workdir=runs/dih256 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "dih256"
    return config
