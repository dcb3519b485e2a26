"""Released models by name, fetched and converted on first use."""

import os
import threading
from pathlib import Path

from harmony_jax.errors import InputError
from harmony_jax.weights.downloads import BASE_ADDRESS, FILES, cache_folder, download
from harmony_jax.weights.steps import FOLDER

# Nearly the best by the published numbers, a third of the best one's size.
DEFAULT = "hrnet18s_idih256"

_converting = threading.Lock()


def checkpoint_path(path_or_name: str | os.PathLike[str], base_address: str = BASE_ADDRESS) -> Path:
    """Where a checkpoint lies; a released model's is made on first use.

    Args:
        path_or_name: a path, or the name of a model released with weights, one of
            `harmony_jax.weights.downloads.FILES`. Its file is fetched into ~/.cache/harmony_jax
            and converted once.
        base_address: where released files are fetched from.

    Returns:
        The path as given, or a workdir in ~/.cache/harmony_jax/models.

    Raises:
        InputError: neither a path that exists nor such a name; or a download or conversion failed.
    """
    path = Path(path_or_name)
    if os.path.exists(path):  # which is False of what may not be looked into
        return path
    name = str(path_or_name)
    if name not in FILES:
        raise InputError(
            f"{name}: no such file or folder, and no released model of that name: pass a workdir "
            f"that was trained in, a .safetensors file, or one of {', '.join(FILES)}"
        )
    workdir = cache_folder() / "models" / name
    with _converting:
        if not (workdir / FOLDER).is_dir():
            # Loads JAX and every model, for the first use alone.
            from harmony_jax.weights.convert import convert

            try:
                convert(download(name, base_address=base_address), workdir, name)
            except InputError:
                if not (workdir / FOLDER).is_dir():  # else another process was faster
                    raise
    return workdir
