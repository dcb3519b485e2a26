"""iDIH with channel attention on the foreground-aware HRNet-W18-small, at 256 pixels.

No published numbers.

    python main.py --config=configs/hrnet18s_sedih256.py --workdir=runs/hrnet18s_sedih256 \\
        --config.data.root=IHARMONY4 \\
        --config.init.backbone=hrnet_w18_small_model_v2.pth
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.name = "hrnet18s_sedih256"
    return config
