"""A clip's frames into a file, with sound, subtitles and tags as they came, or into a folder."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harmony_jax.disk import unfinished_file, unfinished_folder
from harmony_jax.errors import InputError
from harmony_jax.photos.formats import Picture, output_name, write_picture
from harmony_jax.video.codecs import Encoding, encoding_for, pixel_format_for
from harmony_jax.video.files import CONTAINERS
from harmony_jax.video.folder import FolderClip, FolderFrame
from harmony_jax.video.frames import ClipFrame
from harmony_jax.video.library import load, reason
from harmony_jax.video.pixels import matrix_of
from harmony_jax.video.reading import Clip, Streams, display_matrix

_LOGGER = logging.getLogger(__name__)

# What containers write of themselves.
_OWN_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")

# The codecs that say themselves how wide pixels are; PyAV does not let the container say it.
_HOLD_ASPECT = ("h264", "hevc")
# Those in which chroma covers whole pixels only.
_WHOLE_CHROMA = ("h264", "hevc", "av1")

# FFmpeg's names of colour matrices, by their numbers.
_NAMES_OF_MATRICES = {
    1: "ITU709",
    4: "FCC",
    5: "ITU601",
    6: "ITU601",
    7: "SMPTE240M",
    9: "BT2020",
}

_BT709, _LIMITED, _FULL = 1, 1, 2


class WriteOptions(NamedTuple):
    """How a clip is written.

    Attributes:
        codec: a name of `harmony_jax.video.codecs.CODECS`, or None: the clip's own if it can be.
        quality: 1 to 100, or None.
    """

    codec: str | None = None
    quality: int | None = None


@contextmanager
def clip_writer(
    path: Path, source: Clip | FolderClip, options: WriteOptions
) -> Iterator["ClipWriter"]:
    """A writer of a file that appears when the block has ended well.

    Raises:
        InputError: it cannot be written, or the codec not be had.
    """
    av = load()
    try:
        with unfinished_file(path) as file:
            kind = CONTAINERS[path.suffix.lower()]
            container = av.open(file.name, "w", format=kind, options=_container_options(kind))
            try:
                yield ClipWriter(path, container, source, options)
            except BaseException:
                with suppress(av.FFmpegError, OSError):  # of a file that is thrown away
                    container.close()
                raise
            container.close()
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}): choose another") from error


class ClipWriter:
    """Writes frames into an open container; see `clip_writer`."""

    def __init__(
        self, path: Path, container: Any, source: Clip | FolderClip, options: WriteOptions
    ):
        self._path, self._container, self._source = path, container, source
        self._av = load()
        self._stream: Any = None
        self._copied: dict[int, Any] = {}  # streams by their numbers in the source
        self._count, self._end = 0, 0.0
        stream = source.streams.pictures if isinstance(source, Clip) else None
        self._encoding: Encoding = encoding_for(
            container, stream, options.codec, options.quality, str(path)
        )

    @property
    def codec(self) -> str:
        """The codec that is written."""
        return self._encoding.codec

    def write(self, frame: ClipFrame | FolderFrame) -> None:
        """Writes the next frame, and what lies before it in the source's other streams."""
        picture = self._picture(frame)
        if self._stream is None:
            self._begin(picture, not getattr(frame, "is_opaque", True))
        context = self._stream.codec_context
        if picture.format.name != context.pix_fmt:
            picture = self._converted(picture, context.pix_fmt)
        # The encoder chooses its own kinds of pictures.
        picture.pict_type = 0
        self._container.mux(self._stream.encode(picture))
        self._count += 1
        base = picture.time_base
        length = picture.duration * base if picture.duration else 1 / self._source.rate
        self._end = float(picture.pts * base + length)
        self._pass_on(until=self._end)

    def finish(self, is_cut: bool) -> None:
        """Writes what is still in the encoder, and what else the source has.

        Args:
            is_cut: whether the source goes on behind the last frame: sound does not.
        """
        self._pass_on(until=self._end if is_cut else math.inf)
        self._container.mux(self._stream.encode(None))

    def _picture(self, frame: ClipFrame | FolderFrame) -> Any:
        if isinstance(frame, ClipFrame):
            return frame.frame
        pixels, alpha = frame.picture.pixels, frame.picture.alpha
        deep = pixels.dtype == np.uint16
        if alpha is not None:
            pixels = np.dstack([pixels, alpha])
        kind = (
            ("rgba64le" if deep else "rgba")
            if alpha is not None
            else ("rgb48le" if deep else "rgb24")
        )
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind)
        assert isinstance(self._source, FolderClip)
        picture.time_base = 1 / self._source.rate
        picture.pts, picture.duration = self._count, 1
        picture.color_range, picture.colorspace = _FULL, 0
        picture.color_primaries, picture.color_trc = _BT709, 13  # sRGB
        return picture

    def _begin(self, picture: Any, keeps_alpha: bool) -> None:
        """Describes all streams, before the first frame."""
        own = self._source.streams if isinstance(self._source, Clip) else None
        stream = self._container.add_stream(self._encoding.encoder, rate=self._source.rate)
        context = stream.codec_context
        context.width, context.height = picture.width, picture.height
        context.pix_fmt, loses = pixel_format_for(
            self._encoding.encoder, picture.format.name, keeps_alpha
        )
        if loses:
            _LOGGER.warning(
                "%s: %s does not hold the pixel format %s: it becomes %s",
                *(self._path, self.codec, picture.format.name, context.pix_fmt),
            )
        self._check_size(context)
        context.time_base = picture.time_base
        context.options = dict(self._encoding.options)
        flags = self._av.codec.context.Flags
        context.flags |= int(flags.frame_duration)
        if picture.interlaced_frame:
            context.flags |= int(flags.interlaced_dct) | int(flags.interlaced_me)
        if own is not None:
            aspect = own.pictures.sample_aspect_ratio
            if aspect:
                context.sample_aspect_ratio = aspect
            if aspect not in (None, 0, 1) and self.codec not in _HOLD_ASPECT:
                _LOGGER.warning(
                    "%s: %s does not say that pixels are %d:%d wide: h264 and hevc do",
                    *(self._path, self.codec, aspect.numerator, aspect.denominator),
                )
            matrix = display_matrix(picture)
            if matrix is not None:
                stream.set_display_matrix(matrix)
            stream.metadata.update(_tags(own.pictures))
            stream.disposition = own.pictures.disposition
        from_rgb, to_rgb = picture.format.is_rgb, self._av.VideoFormat(context.pix_fmt).is_rgb
        to_yuv = from_rgb and not to_rgb
        context.color_range = _LIMITED if to_yuv else picture.color_range
        context.colorspace = _BT709 if to_yuv else picture.colorspace
        if to_rgb and not from_rgb:
            context.color_range, context.colorspace = _FULL, 0
        context.color_primaries, context.color_trc = picture.color_primaries, picture.color_trc
        if to_yuv:
            context.color_trc = _BT709
        self._stream = stream
        if own is not None:
            self._describe_others(own)
        self._container.start_encoding()

    def _check_size(self, context: Any) -> None:
        """Raises InputError for sizes that an encoder cannot take."""
        kind = self._av.VideoFormat(context.pix_fmt, 16, 16)
        wide, tall = 16 // kind.chroma_width(), 16 // kind.chroma_height()
        if self.codec in _WHOLE_CHROMA and (context.width % wide or context.height % tall):
            raise InputError(
                f"{self._path}: frames of {context.width} x {context.height}, and {self.codec} "
                f"takes even sizes in {context.pix_fmt}: crop them, or pass another --codec"
            )

    def _describe_others(self, own: Streams) -> None:
        self._container.metadata.update(_tags(own.container))
        if chapters := own.container.chapters():
            self._container.set_chapters(chapters)
        for other in own.others:
            try:
                copy = self._container.add_stream_from_template(other, opaque=True)
            except (ValueError, self._av.FFmpegError):
                name = getattr(other.codec_context, "name", None) or "unknown"
                _LOGGER.warning(
                    "%s: does not hold the %s stream %d (%s) of %s: it is left out",
                    *(self._path, other.type, other.index, name, self._source.path),
                )
                continue
            copy.metadata.update(_tags(other))
            copy.disposition = other.disposition
            self._copied[other.index] = copy

    def _pass_on(self, until: float) -> None:
        """Writes packets of other streams that begin before a time; others wait."""
        if not isinstance(self._source, Clip):
            return
        waiting = self._source.passed_on
        for _ in range(len(waiting)):
            packet = waiting.popleft()
            time = packet.pts if packet.pts is not None else packet.dts
            if float(time * packet.time_base) >= until:
                waiting.append(packet)
                continue
            copy = self._copied.get(packet.stream.index)
            if copy is not None:
                packet.stream = copy
                self._container.mux_one(packet)

    def _converted(self, picture: Any, name: str) -> Any:
        wanted = self._av.VideoFormat(name)
        flags = self._av.video.reformatter.Interpolation
        best = int(flags.BICUBIC) | int(flags.ACCURATE_RND) | int(flags.FULL_CHR_H_INT)
        if picture.format.is_rgb and not wanted.is_rgb:
            converted = picture.reformat(
                format=name,
                interpolation=best,
                dst_colorspace="ITU709",
                dst_color_range="MPEG",
            )
        elif wanted.is_rgb and not picture.format.is_rgb:
            converted = picture.reformat(
                format=name,
                interpolation=best,
                src_colorspace=_NAMES_OF_MATRICES[matrix_of(picture)],
                src_color_range="JPEG" if picture.color_range == _FULL else "MPEG",
                dst_color_range="JPEG",
            )
        else:
            converted = picture.reformat(format=name, interpolation=best)
        converted.pts, converted.time_base = picture.pts, picture.time_base
        converted.duration = picture.duration
        return converted


@contextmanager
def folder_writer(
    path: Path, ending: str | None, source: Clip | FolderClip
) -> Iterator["FolderWriter"]:
    """A writer of a folder of pictures that appears when the block has ended well.

    Args:
        path: the folder.
        ending: of the pictures, such as .png; None: as those of a folder, or .png.
        source: what is written.
    """
    if isinstance(source, Clip):
        for other in source.streams.others:
            _LOGGER.warning(
                "%s: a folder holds pictures alone: the %s stream %d is left out",
                *(path, other.type, other.index),
            )
    with unfinished_folder(path) as folder:
        yield FolderWriter(folder, ending)


class FolderWriter:
    """Writes frames as pictures: of a folder by their own names, of a clip by their numbers."""

    def __init__(self, folder: Path, ending: str | None):
        self._folder, self._ending, self._count = folder, ending, 0

    def finish(self, is_cut: bool) -> None:
        """All is written."""

    def write(self, frame: ClipFrame | FolderFrame) -> None:
        """Writes the next frame."""
        self._count += 1
        if isinstance(frame, FolderFrame):
            name, picture = output_name(frame.path, self._ending), frame.picture
        else:
            name = f"{self._count:06d}{self._ending or '.png'}"
            picture = Picture(np.ascontiguousarray(frame.rgb()))
        write_picture(self._folder / name, picture)


def _container_options(kind: str) -> dict[str, str]:
    return {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}


def _tags(source: Any) -> dict[str, str]:
    return {key: value for key, value in source.metadata.items() if key.lower() not in _OWN_TAGS}
