"""DIH at 512 pixels, one level deeper. No published numbers.

The released script cuts 512 x 512 windows out of the photos; here the photos are augmented as at
256 pixels, by random resized crops.

    python main.py --config=configs/dih512.py --workdir=runs/dih512 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "dih512"
    config.data.image_size = 512
    config.loss.name = "mse"  # released script
    config.optimizer.milestones = ()  # it keeps its rate
    return config
