"""Trains some steps and prints the losses: a program of its own, as devices are set at start.

python -m tests.loss_curve ROOT '{"devices": 4, "shards": 1}'

Several settings run one after the other.
"""

import json
import sys

from configs import base
from harmony_jax.build import build_model
from harmony_jax.data.splits import open_split
from harmony_jax.data.training_data import TrainingData
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training.setup import set_up
from harmony_jax.training.step import create_state
from tests.made_data import SUBSETS

STEPS = 10


def config_of(root: str):
    """`hrnet18s_idih256` at 64 pixels, with a narrow encoder and decoder, and dropout."""
    config = base.get_config()
    config.model.name = "hrnet18s_idih256"
    config.model.depth = 4
    config.model.channels = 8
    config.model.max_channels = 32
    config.model.ocr_channels = 16
    config.data.root = root
    config.data.subsets = SUBSETS
    config.data.image_size = 64
    config.data.num_workers = 0
    config.data.validation_fraction = 0.0
    config.train.batch_size = 16
    config.optimizer.learning_rate = 1e-4
    return config


def assert_compiled_once(step) -> None:
    # JAX has no public count: where this one is missing, nothing is said.
    assert getattr(step, "_cache_size", lambda: 1)() == 1


def main() -> None:
    settings = [json.loads(argument) for argument in sys.argv[2:]]
    config = config_of(sys.argv[1])
    source = open_split(config.data, "train")
    model = build_model(config)
    for setting in settings:
        mesh = create_mesh(setting["devices"], setting["shards"])
        config.train.accumulate = setting.get("parts", 1)
        config.train.recompute = setting.get("recompute", False)
        training = set_up(config, mesh, 100 * config.train.batch_size)
        _, state = create_state(model, training.optimizer, mesh)
        data = TrainingData(source, config, mesh, 0)
        losses = []
        for _ in range(STEPS):
            state, metrics = training.step(state, data.next())
            losses.append(float(metrics["loss"]))
        data.close()
        assert_compiled_once(training.step)
        print(json.dumps({"setting": setting, "losses": losses}), flush=True)


if __name__ == "__main__":
    main()
