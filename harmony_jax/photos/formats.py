"""Reading and writing pictures in the formats that people have: what other modules need of it.

docs/harmonize.md has tables of what is read, written and kept. Data sets are read by
`harmony_jax.data.codecs`, which is faster and follows the benchmark exactly.
"""

from harmony_jax.photos.decoding import count_pixels as count_pixels
from harmony_jax.photos.decoding import decode_picture as decode_picture
from harmony_jax.photos.decoding import picture_of as picture_of
from harmony_jax.photos.decoding import read_picture as read_picture
from harmony_jax.photos.encoding import JpegOptions as JpegOptions
from harmony_jax.photos.encoding import encode_picture as encode_picture
from harmony_jax.photos.encoding import write_picture as write_picture
from harmony_jax.photos.kinds import ENDINGS as ENDINGS
from harmony_jax.photos.kinds import WRITTEN_ENDINGS as WRITTEN_ENDINGS
from harmony_jax.photos.kinds import check_ending as check_ending
from harmony_jax.photos.kinds import check_written_ending as check_written_ending
from harmony_jax.photos.kinds import output_name as output_name
from harmony_jax.photos.picture import MAX_PIXELS as MAX_PIXELS
from harmony_jax.photos.picture import Picture as Picture
from harmony_jax.photos.picture import to_eight_bits as to_eight_bits
from harmony_jax.photos.picture import to_uint8 as to_uint8
