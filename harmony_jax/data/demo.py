"""The photos of the demo: seven that come inside scikit-image and scikit-learn."""

import atexit
import importlib.util
import shutil
import tempfile
from functools import cache
from pathlib import Path

from harmony_jax.errors import InputError

PHOTOS = {
    "skimage": (
        "data/astronaut.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/rocket.jpg",
        "data/motorcycle_left.png",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}


@cache
def demo_folder() -> str:
    """Copies the photos into a folder demo/, which is removed when this process ends."""
    files = [_find(package, path) for package, paths in PHOTOS.items() for path in paths]
    temporary = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    folder = temporary / "demo"  # names the subset in tables
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    return str(folder)


def _find(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    file = Path(spec.origin).parent / path if spec and spec.origin else None
    if file is None or not file.is_file():
        raise InputError(f"the demo needs {path} of {package}: pip install 'harmony_jax[demo]'")
    return file
