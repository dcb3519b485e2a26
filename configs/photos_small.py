"""A small model on a folder of your own photos, in 20 minutes on two CPU cores.

An iDIH that sees photos at 64 pixels, with three eighths of the channels and two levels less, on
composites that are made of the photos while it trains (docs/data.md). `harmonize` carries its
change of colour to any size. For a model that is meant to be used, take configs/ready.py and an
accelerator.

    python main.py --config=configs/photos_small.py --workdir=runs/photos --config.data.root=PHOTOS
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "improved_dih256"
    config.model.depth = 5
    config.model.channels = 24
    config.model.max_channels = 256
    config.data.name = "photos"
    config.data.image_size = 64
    config.data.placement = "host"  # no worker processes beside the training on the same cores
    config.data.resident_size = 112
    config.data.regions_per_photo = 1  # masks, where there are any, teach more
    config.data.unreadable = "skip"
    # More transfers, which a small model learns first.
    config.data.composites.reinhard = 0.3
    config.data.composites.linear = 0.3
    config.data.composites.histogram = 0.25
    config.data.composites.retouch = 0.1
    config.train.batch_size = 64
    config.train.epochs = 150
    config.train.log_every_steps = 100
    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 3.0
    config.evaluation.every_epochs = 15
    config.checkpoint.every_epochs = 15
    return config
