from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harmony_jax import Harmonizer, InputError
from harmony_jax.weights.downloads import FILES
from harmony_jax.weights.files import write_state_dict
from harmony_jax.weights.released import READY_FILE, checkpoint_path
from tests.released import golden, make_weights

NAME = "improved_ssam256"  # the smallest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache that holds the released file, as if it had been fetched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "harmony_jax"
    folder.mkdir()
    write_state_dict(folder / FILES[NAME], make_weights(golden(NAME)["state_dict"]))
    return folder


def test_a_released_model_is_converted_once_and_harmonizes(cache):
    path = checkpoint_path(NAME)
    assert path == cache / "models" / f"{NAME}.safetensors"
    (cache / FILES[NAME]).unlink()  # no longer needed
    assert checkpoint_path(NAME) == path
    harmonizer = Harmonizer.from_checkpoint(NAME)
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    mask = np.zeros((60, 90), np.uint8)
    mask[20:40, 20:60] = 255
    result = harmonizer.harmonize(image, mask)
    np.testing.assert_array_equal(result[mask == 0], image[mask == 0])
    assert harmonizer.harmonize(image, mask, resolution=256).shape == (256, 256, 3)


def test_several_at_once_share_one_conversion(cache):
    with ThreadPoolExecutor(2) as executor:
        found = set(executor.map(checkpoint_path, [NAME] * 2))
    assert found == {cache / "models" / f"{NAME}.safetensors"}
    assert list((cache / "models").iterdir()) == list(found)


def test_a_folder_goes_before_a_name(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoint_path("ready") == READY_FILE
    for name in (NAME, "ready"):
        (tmp_path / name).mkdir()
        assert checkpoint_path(name).absolute() == tmp_path / name


def test_a_damaged_download_leaves_nothing(cache):
    (cache / FILES[NAME]).write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"issam256\.pth"):
        checkpoint_path(NAME)
    assert not (cache / "models").exists()
