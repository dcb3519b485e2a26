"""iDIH at 512 pixels, one level deeper. No published numbers.

The released script cuts 512 x 512 windows out of the photos; here the photos are augmented as at
256 pixels, by random resized crops.

    python main.py --config=configs/improved_dih512.py --workdir=runs/improved_dih512 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "improved_dih512"
    config.data.image_size = 512
    config.loss.min_area = 1000.0  # released scripts at 512 pixels
    return config
