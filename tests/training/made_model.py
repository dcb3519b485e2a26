"""A model whose step compiles in a second, and batches for it."""

import jax
import numpy as np
from flax import nnx

from harmony_jax.models import HarmonizationModel, Output
from harmony_jax.models.layers import LayerMaker
from harmony_jax.training.setup import Training


class MadeModel(HarmonizationModel):
    """Adds to the image what two equal parts make of it, one of them named as pre-trained."""

    def __init__(self, dropout: float = 0.0):
        self.backbone = nnx.Dict({"hrnet": _Part(dropout)})
        self.model = _Part(dropout)

    def __call__(self, image, mask, *, rngs=None):
        return Output(image + self.backbone.hrnet(image, rngs) + self.model(image, rngs), None)

    def check_image_size(self, height, width):
        pass

    @property
    def size_divisor(self):
        return 1


class _Part(nnx.Module):
    def __init__(self, dropout: float):
        make = LayerMaker(nnx.Rngs(0))
        self.conv = make.conv(3, 4, 1)
        self.norm = make.batchnorm(4)
        self.out = make.conv(4, 3, 1)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x, rngs):
        x = self.out(self.norm(self.conv(x)))
        return x if self.dropout.deterministic else self.dropout(x, rngs=rngs)


def batch_of(config, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch of random pixels."""
    rng = np.random.default_rng(seed)
    shape = (config.train.batch_size, config.data.image_size, config.data.image_size)
    return {
        "composite": rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        "real": rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        "mask": (255 * (rng.random(shape) > 0.7)).astype(np.uint8),
    }


def advanced(training: Training, state, first: int, last: int) -> tuple[list, list]:
    """The states after steps `first` to `last`, the one before included, and their metrics."""
    states, metrics = [state], []
    for number in range(first, last + 1):
        copy = jax.tree.map(lambda leaf: leaf.copy(), states[-1])  # steps donate their state
        state, scalars = training.step(copy, batch_of(training.config, number))
        states.append(state)
        metrics.append({name: float(value) for name, value in scalars.items()})
    assert_compiled_once(training.step)
    return states, metrics


def assert_compiled_once(step) -> None:
    # JAX has no public count: where this one is missing, nothing is said.
    assert getattr(step, "_cache_size", lambda: 1)() == 1


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
