"""iS2AM at 512 pixels, two levels deeper. No published numbers.

The released code has the model, without a training script; the recipe is improved_dih512's.

    python main.py --config=configs/improved_ssam512.py --workdir=runs/improved_ssam512 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "improved_ssam512"
    config.data.image_size = 512
    config.loss.min_area = 1000.0  # released scripts at 512 pixels
    return config
