"""iSEUNet at 256 pixels: a U-Net with channel attention by foreground. No published numbers.

    python main.py --config=configs/iseunetv1_256.py --workdir=runs/iseunetv1_256 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "iseunetv1_256"
    config.loss.min_area = 1000.0  # released script
    return config
