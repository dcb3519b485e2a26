"""Models by name: the one that comes with the package, and released ones, fetched on first use."""

import os
import threading
import zlib
from pathlib import Path

from harmony_jax.errors import InputError
from harmony_jax.weights.downloads import BASE_ADDRESS, FILES, cache_folder, download

READY = "ready"  # docs/ready_model.md

# Its file, and the CRC-32 of that.
READY_FILE = Path(__file__).with_name("ready.safetensors")
READY_CRC = 0x2E71A49B

_converting = threading.Lock()


def checkpoint_path(
    path_or_name: str | os.PathLike[str] | None, base_address: str = BASE_ADDRESS
) -> Path:
    """Where a checkpoint lies; a released model's is made on first use.

    Args:
        path_or_name: a path; `ready` or None for the model that comes with the package; or the name
            of a released model, one of `harmony_jax.weights.downloads.FILES`. Its file is fetched
            into ~/.cache/harmony_jax and converted once. An existing path is preferred to a name.
        base_address: where released files are fetched from.

    Returns:
        The path as given, or a .safetensors file: the package's, or one in
        ~/.cache/harmony_jax/models.
    """
    if path_or_name is None:
        return _ready_file()
    path = Path(path_or_name)
    if os.path.exists(path):  # False without permission, where `Path.exists` raises an error
        return path
    name = str(path_or_name)
    if name == READY:
        return _ready_file()
    if name not in FILES:
        raise InputError(
            f"{name}: no such file or folder, and no model of that name: pass a workdir that was "
            f"trained in, a .safetensors file, or one of {', '.join((READY, *FILES))}"
        )
    converted = cache_folder() / "models" / f"{name}.safetensors"
    with _converting:
        if not converted.is_file():
            # Imported here, as it loads JAX and all models.
            from harmony_jax.weights.convert import convert

            try:
                convert(download(name, base_address=base_address), converted, name)
            except InputError:
                if not converted.is_file():  # another process may have been faster
                    raise
    return converted


def _ready_file() -> Path:
    """The package's own weights, checked against their checksum."""
    try:
        if zlib.crc32(READY_FILE.read_bytes()) == READY_CRC:
            return READY_FILE
        damage = "damaged"
    except OSError as error:
        damage = f"cannot be read ({error.strerror})"
    raise InputError(
        f"{READY_FILE}: the weights that come with the package: {damage}: reinstall harmony_jax"
    )
