"""A small model on a folder of your own photos, in 20 minutes on two CPU cores.

The demo's iDIH (128 pixels, half the channels, one level less) on composites made of the photos
while it trains (docs/data.md). For a model that is meant to be used, take configs/ready.py and an
accelerator.

    python main.py --config=configs/photos_small.py --workdir=runs/photos --config.data.root=PHOTOS
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "improved_dih256"
    config.model.depth = 6
    config.model.channels = 32
    config.model.max_channels = 256
    config.data.name = "photos"
    config.data.image_size = 128
    config.data.placement = "host"  # no worker processes beside the training on the same cores
    config.data.resident_size = 192
    config.data.unreadable = "skip"
    config.train.batch_size = 16
    config.train.epochs = 20
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 0.2
    config.evaluation.every_epochs = 5
    return config
