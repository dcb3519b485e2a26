"""Pictures as people have them, with what came with them: all that others need of their files.

docs/harmonize.md has a table of what is taken and what is kept. Data sets are read by
`harmony_jax.data.codecs`, which is faster and exact to the benchmark.
"""

from harmony_jax.photos.decoding import count_pixels, decode_picture, picture_of, read_picture
from harmony_jax.photos.encoding import JpegOptions, encode_picture, write_picture
from harmony_jax.photos.picture import (
    ENDINGS,
    MAX_PIXELS,
    WRITTEN_ENDINGS,
    Picture,
    check_ending,
    check_written_ending,
    output_name,
    to_eight_bits,
    to_uint8,
)

__all__ = [
    "ENDINGS",
    "MAX_PIXELS",
    "WRITTEN_ENDINGS",
    "JpegOptions",
    "Picture",
    "check_ending",
    "check_written_ending",
    "count_pixels",
    "decode_picture",
    "encode_picture",
    "output_name",
    "picture_of",
    "read_picture",
    "to_eight_bits",
    "to_uint8",
    "write_picture",
]
