"""The whole way in a few minutes on a laptop, with no download: train, evaluate, look.

A small iDIH (128 pixels, half the channels, one level less) learns from composites made of the
seven colour photos inside scikit-image and scikit-learn, and is evaluated on other regions and
recolourings of the same photos. Seven photos show that the system works; they are too few to
harmonize photos never seen.

    python main.py --config=configs/demo.py --workdir=runs/demo
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "improved_dih256"
    config.model.depth = 6
    config.model.channels = 32
    config.model.max_channels = 256
    config.data.name = "demo"
    config.data.image_size = 128
    config.data.validation_fraction = 0.0  # a photo held out would be one in seven
    config.data.num_workers = 0  # the set is in memory
    config.train.batch_size = 8
    config.train.epochs = 6
    config.optimizer.milestones = (4, 5)
    config.train.log_every_steps = 100
    config.evaluation.every_epochs = 0
    config.checkpoint.every_epochs = 2
    return config
