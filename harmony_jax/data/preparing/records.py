"""One sample as a record of the prepared set: made from its files."""

import io
from functools import cache, lru_cache
from pathlib import Path

import cv2
import tensorflow_datasets as tfds

from harmony_jax.data.codecs import Pixels, decode_mask, decode_photo, encode_jpeg, encode_mask
from harmony_jax.data.iharmony4 import SampleFiles, check_foreground, check_size
from harmony_jax.data.resizing import MAX_SIDE
from harmony_jax.disk import read_file

# HAdobe5k comes at up to 6048 pixels a side, and the released code trains and evaluates on it
# shrunk to MAX_SIDE.
SHRUNK_SUBSET = "HAdobe5k"
JPEG_QUALITY = 90

_Size = tuple[int, int]


@cache
def features() -> tfds.features.FeaturesDict:
    """What a record holds, for TFDS; all of it is stored encoded."""
    photo = tfds.features.Image(
        shape=(None, None, 3), encoding_format="jpeg", doc="RGB, as downloaded or shrunk"
    )
    return tfds.features.FeaturesDict(
        {
            "composite": photo,
            "real": photo,
            "mask": tfds.features.Image(
                shape=(None, None, 1),
                encoding_format="png",
                doc="255 in the foreground, soft values kept",
            ),
            "name": tfds.features.Text(doc="file name of the composite"),
            "subset": tfds.features.Text(doc="HCOCO, HAdobe5k, HFlickr or Hday2night"),
        }
    )


def make_record(sample: SampleFiles) -> bytes:
    """Reads and checks the files of a sample, and packs them as a serialized tf.train.Example.

    Photos are taken over byte for byte, masks encoded anew without loss. In HAdobe5k, all three
    are first shrunk to at most 1024 a side, as the released code does.

    Raises:
        InputError: a file is missing or damaged, sizes differ, or the mask has no foreground.
    """
    limit = MAX_SIDE if sample.subset == SHRUNK_SUBSET else None
    size, composite = _photo(read_file(sample.composite), str(sample.composite), limit)
    real_size, real = _shared_photo(read_file(sample.real), str(sample.real), limit)
    mask_size, mask = _mask(sample.mask, limit)
    check_size(str(sample.real), real_size, str(sample.composite), size)
    check_size(str(sample.mask), mask_size, str(sample.composite), size)
    check_foreground(str(sample.mask), mask, str(sample.composite))
    return features().serialize_example(
        {
            "composite": io.BytesIO(composite),
            "real": io.BytesIO(real),
            "mask": io.BytesIO(encode_mask(mask)),
            "name": sample.name,
            "subset": sample.subset,
        }
    )


def shrink(pixels: Pixels, limit: int) -> Pixels:
    """Resizes uint8 [height, width(, 3)] so that its longer side has `limit` pixels (Lanczos)."""
    height, width = pixels.shape[:2]
    scale = limit / max(height, width)
    size = (round(scale * width), round(scale * height))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LANCZOS4)


def _photo(data: bytes, label: str, limit: int | None) -> tuple[_Size, bytes]:
    """The photo's size as it came, and the JPEG to keep."""
    pixels = decode_photo(data, label)
    if limit is not None and max(pixels.shape) > limit:
        data = encode_jpeg(shrink(pixels, limit), JPEG_QUALITY)
    return pixels.shape[:2], data


def _mask(path: Path, limit: int | None) -> tuple[_Size, Pixels]:
    mask = decode_mask(read_file(path), str(path))
    size = mask.shape[:2]
    return size, shrink(mask, limit) if limit is not None and max(size) > limit else mask


# The composites of a photo follow each other in the lists.
_shared_photo = lru_cache(maxsize=1)(_photo)
