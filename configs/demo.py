"""The whole way in a few minutes on a laptop, with no download: train, evaluate, look.

A small iDIH (128 pixels, a quarter of the channels, one level less) learns from composites made of
the seven colour photos inside scikit-image and scikit-learn, and is evaluated on the same photos,
recoloured in ways that it has not seen. Seven photos show that the system works; they are too few
to harmonize other photos.

    python main.py --config=configs/demo.py --workdir=runs/demo
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "improved_dih256"
    config.model.depth = 6
    config.model.channels = 16
    config.model.max_channels = 256
    config.data.name = "demo"
    config.data.image_size = 128
    config.data.regions_per_photo = 3  # every photo has as many
    config.data.validation_fraction = 0.0  # a photo held out would be one in seven
    config.data.num_workers = 0  # decoding takes little time beside training
    # With so little to learn from, only colours that are plainly wrong.
    config.data.composites.reinhard = 0.8
    config.data.composites.linear = 0.0
    config.data.composites.histogram = 0.0
    config.data.composites.retouch = 0.2
    config.data.composites.unchanged = 0.0
    config.data.composites.strength = (1.0, 1.0)
    config.data.composites.distance = (25.0, 60.0)
    config.data.composites.contrast = 0.1
    config.data.composites.saturation = 0.2
    config.data.composites.gamma = 0.1
    config.data.composites.hue = 0.0
    config.data.composites.light_share = 0.0
    config.data.composites.polygon_share = 0.0
    config.data.composites.edge_share = 0.0
    config.train.batch_size = 8
    config.train.epochs = 600
    config.optimizer.milestones = (420, 540)
    config.train.log_every_steps = 100
    config.evaluation.every_epochs = 0
    config.checkpoint.every_epochs = 100
    return config
