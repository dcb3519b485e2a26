"""iDIH with channel attention at 512 pixels on the foreground-aware HRNet-W18.

No published numbers. The released script cuts 512 x 512 windows out of the photos; here the photos
are augmented as at 256 pixels, by random resized crops.

    python main.py --config=configs/hrnet18_sedih512.py --workdir=runs/hrnet18_sedih512 \\
        --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnetv2_w18_imagenet_pretrained.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet18_sedih512"
    config.data.image_size = 512
    config.loss.min_area = 1000.0  # released scripts at 512 pixels
    return config
