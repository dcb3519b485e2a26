"""The recipe of the weights that ship: iDIH at 256 pixels, on composites made of photos.

For any folder of photos, some with masks (docs/data.md). The photos stay in the accelerator's
memory, where a new composite is made of each at every step: 10 minutes on one H200 for some 9,000
objects. docs/ready_model.md says what the shipped weights were trained on and what they reach.

    python main.py --config=configs/ready.py --workdir=runs/ready --config.data.root=PHOTOS
    python scripts/convert_weights.py --input=runs/ready --output=ready.safetensors
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "improved_dih256"
    config.model.dtype = "bfloat16"
    config.data.name = "photos"
    config.data.placement = "device"
    config.data.resident_size = 336
    config.data.unreadable = "skip"
    config.train.batch_size = 128
    config.train.epochs = 600
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 3.0
    config.evaluation.every_epochs = 50
    config.checkpoint.every_epochs = 25
    return config
