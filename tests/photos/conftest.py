import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmony_jax import Harmonizer, Output, denormalize, normalize
from harmony_jax.models import HarmonizationModel
from tests.photos import files


class Tint(HarmonizationModel):
    """Answers with one change of colour, which is strong enough to be believed."""

    def check_image_size(self, height: int, width: int) -> None:
        """Takes any."""

    def __call__(self, image: jax.Array, mask: jax.Array) -> Output:
        changed = 0.7 * denormalize(image) + jnp.array([70.0, 10.0, -15.0])
        return Output(normalize(jnp.clip(changed, 0, 255)), None)


@pytest.fixture(autouse=True)
def _same_noise():
    """Whatever tests ran before, which differs with the number of workers."""
    files.RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.fixture(scope="session")
def harmonizer(trained):
    """Of a tiny network of 32 pixels; loaded and compiled once."""
    return Harmonizer.from_checkpoint(trained[1])


@pytest.fixture(scope="session")
def tinting():
    """Of a network of 32 pixels that warms colours."""
    return Harmonizer(Tint(), 32)
