"""Pictures that another program made of a data set's composites."""

from collections.abc import Collection
from pathlib import Path

from harmony_jax.data.codecs import Pixels, read_photo
from harmony_jax.data.sources import Source, sample_name
from harmony_jax.disk import Present
from harmony_jax.errors import InputError

_ENDINGS = (".png", ".jpg", ".jpeg")


class Predictions:
    """One picture a sample, named as its composite: FOLDER/SUBSET/NAME or FOLDER/NAME.

    The ending may be another: `c100_1_1.png` for `c100_1_1.jpg`.
    """

    def __init__(self, folder: Path, source: Source):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of predictions: check the path")
        present = Present()
        self._paths = []
        missing = []
        for index in range(len(source)):
            name = Path(source.name(index))  # which may have folders itself
            names = [name.name, *(f"{name.stem}{ending}" for ending in _ENDINGS)]
            places = (folder / source.subset(index) / name.parent, folder / name.parent)
            paths = (place / file for place in places for file in names)
            found = next(filter(None, map(present.find, paths)), None)
            if found is None:
                missing.append(sample_name(source, index))
            else:
                self._paths.append(found)
        if missing:
            raise InputError(
                f"{folder}: no prediction for {missing[0]} ({len(missing)} of {len(source)} are "
                f"missing): expected {folder / Path(missing[0]).with_suffix('.png')}"
            )

    def read(self, index: int, sizes: Collection[tuple[int, int]]) -> Pixels:
        """A sample's prediction, RGB uint8, which must have one of these heights and widths."""
        pixels = read_photo(self._paths[index])
        if pixels.shape[:2] not in sizes:
            expected = " or ".join(f"{height}x{width}" for height, width in sorted(sizes))
            raise InputError(
                f"{self._paths[index]}: {pixels.shape[0]}x{pixels.shape[1]} (height x width): "
                f"expected {expected}, as the composite"
            )
        return pixels
