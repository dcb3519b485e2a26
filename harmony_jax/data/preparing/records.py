"""Makes the record of a prepared set's sample from its files."""

import io
import sys
from functools import cache, lru_cache

import cv2
import tensorflow_datasets as tfds

from harmony_jax.data.codecs import decode_mask, decode_photo, encode_jpeg, encode_mask
from harmony_jax.data.iharmony4 import SampleFiles, check_foreground, check_size
from harmony_jax.data.resizing import MAX_SIDE, limited
from harmony_jax.disk import read_file

# HAdobe5k has up to 6048 pixels a side; the released code shrinks it to MAX_SIDE.
_SHRUNK_SUBSET = "HAdobe5k"
_JPEG_QUALITY = 90
_FILTER = cv2.INTER_LANCZOS4  # as in the released notebook


@cache
def features() -> tfds.features.FeaturesDict:
    """What a record holds, as TFDS describes it; pictures are stored encoded."""
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
    """Reads and checks a sample's files and packs them as a serialized tf.train.Example.

    Photos are kept byte for byte, masks are encoded anew without loss. In HAdobe5k all three are
    shrunk to at most 1024 pixels a side first, as the released code does.
    """
    limit = MAX_SIDE if sample.subset == _SHRUNK_SUBSET else sys.maxsize
    shape, composite = _photo(read_file(sample.composite), str(sample.composite), limit)
    real_shape, real = _shared_photo(read_file(sample.real), str(sample.real), limit)
    mask = decode_mask(read_file(sample.mask), str(sample.mask))
    check_size(str(sample.real), real_shape, str(sample.composite), shape)
    check_size(str(sample.mask), mask.shape, str(sample.composite), shape)
    mask = limited(mask, limit, _FILTER)
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


def _photo(data: bytes, label: str, limit: int) -> tuple[tuple[int, ...], bytes]:
    """The photo's shape before it is shrunk, and the JPEG to keep."""
    pixels = decode_photo(data, label)
    if max(pixels.shape) > limit:
        data = encode_jpeg(limited(pixels, limit, _FILTER), _JPEG_QUALITY)
    return pixels.shape, data


# Composites of one photo follow each other in the lists.
_shared_photo = lru_cache(maxsize=1)(_photo)
