"""iDIH at 256 pixels with channel attention in the decoder. No published numbers.

Channels are weighed by what they hold in the foreground and in the background.

    python main.py --config=configs/improved_sedih256.py --workdir=runs/improved_sedih256 \\
        --config.data.root=IHARMONY4
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_short_config()
    config.model.name = "improved_sedih256"
    return config
