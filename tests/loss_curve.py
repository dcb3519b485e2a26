"""Trains some steps and prints the losses: a program of its own, as devices are set at start.

python -m tests.loss_curve ROOT '{"devices": 4, "shards": 1}'

Several settings run one after the other.
"""

import json
import sys

import jax.numpy as jnp
from flax import nnx

from harmony_jax.data.splits import open_split
from harmony_jax.data.training_data import TrainingData
from harmony_jax.devices import mesh as meshes
from harmony_jax.models import Output
from harmony_jax.models.hrnet import FusionModule, Transition
from harmony_jax.models.layers import LayerMaker, concatenate
from harmony_jax.models.ocr import ObjectContext
from harmony_jax.models.resizing import resize
from harmony_jax.training import setup
from tests.made_data import tiny_config
from tests.training.made_model import MadeModel, assert_compiled_once

STEPS = 10


class SmallNetwork(MadeModel):
    """One of each of what HRNet with object context is made of, and dropout."""

    def __init__(self):
        make = LayerMaker(nnx.Rngs(0))
        self.transition = Transition(make, (4,), (8, 16))
        self.fusion = FusionModule(make, (8, 16), 1)
        self.head = make.conv_batchnorm((8, 16), 16, 3, bias=True)
        self.context = ObjectContext(make, 16, 8, 0.05)
        self.out = make.conv(16, 3, 1)

    def __call__(self, image, mask, *, rngs=None):
        scales = self.fusion(self.transition([jnp.concatenate([image, mask], -1)]))
        size = scales[0].shape[1:3]
        features = self.head(concatenate(*(resize(scale, size) for scale in scales)))
        return Output(image + self.out(self.context(features, mask, rngs)), None)


def main() -> None:
    config = tiny_config(sys.argv[1])
    config.data.validation_fraction = 0.0
    config.train.batch_size = 16
    setup.build_model = lambda _: SmallNetwork()
    meshes._MIN_SHARDED_SIZE = 64
    source = open_split(config.data, "train")
    for setting in map(json.loads, sys.argv[2:]):
        mesh = meshes.create_mesh(setting["devices"], setting["shards"])
        training = setup.set_up(config, mesh, 100 * config.train.batch_size)
        state = training.begin()
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
