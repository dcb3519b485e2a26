"""One of the models of docs/models.md, with the recipe of its released training script.

    python main.py --config=configs/NAME.py --workdir=runs/NAME --config.data.root=IHARMONY4

where configs/NAME.py stands for configs/model.py:NAME. Models with a backbone start from ImageNet
weights, which --config.init.backbone names. At 512 pixels the released scripts cut windows out of
the photos; here photos are augmented as at 256 pixels, by random resized crops.
"""

from ml_collections import ConfigDict

from configs import base
from harmony_jax.errors import InputError
from harmony_jax.models import list_backbones, list_models, released_image_size


def get_config(name: str = "") -> ConfigDict:
    if name not in list_models():
        raise InputError(
            f"configs/{name}.py: neither a file nor a model: choose {', '.join(list_models())}"
        )
    config = base.get_config()
    config.model.name = name
    config.data.image_size = released_image_size(name)
    if not name.startswith(tuple(list_backbones())):
        config.train.epochs = 120
        config.optimizer.milestones = (105, 115)
    if name in ("dih512", "ssam256"):
        config.loss.name = "mse"
    elif config.data.image_size == 512 or name in ("improved_ssam256", "iseunetv1_256"):
        config.loss.min_area = 1000.0
    if name == "dih512":
        config.optimizer.milestones = ()  # constant rate
    return config
