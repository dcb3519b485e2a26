import pytest


@pytest.fixture(scope="session")
def harmonizer(trained):
    """Of a tiny network of 32 pixels; loaded and compiled once."""
    from harmony_jax import Harmonizer

    return Harmonizer.from_checkpoint(trained[1])
