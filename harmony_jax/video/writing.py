"""A clip's frames into a file, with sound, subtitles and tags as they came, or into a folder."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from harmony_jax.disk import unfinished_file, unfinished_folder
from harmony_jax.errors import InputError
from harmony_jax.photos.encoding import write_picture
from harmony_jax.photos.kinds import output_name
from harmony_jax.photos.picture import Picture
from harmony_jax.video.codecs import Encoding, encoding_for, pixel_format_for
from harmony_jax.video.files import CONTAINERS
from harmony_jax.video.frames import AnyFrame, ClipFrame, FolderFrame
from harmony_jax.video.library import av, reason
from harmony_jax.video.pixels import FULL_RANGE, matrix_of
from harmony_jax.video.reading import AnyClip, Clip

_LOGGER = logging.getLogger(__name__)

# Tags that containers write by themselves.
_OWN_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")

# Codecs that state the shape of pixels themselves; PyAV does not let containers state it.
_HOLD_ASPECT = ("h264", "hevc")
# Those in which chroma covers whole pixels only.
_WHOLE_CHROMA = ("h264", "hevc", "av1")

_RGB, _BT709, _SRGB, _LIMITED_RANGE = 0, 1, 13, 1


@contextmanager
def clip_writer(
    path: Path, source: AnyClip, codec: str | None, quality: int | None
) -> Iterator["ClipWriter"]:
    """A writer of a file that appears when the block ends without an error."""
    kind = CONTAINERS[path.suffix.lower()]
    more = {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}
    try:
        with unfinished_file(path) as file:
            container = av.open(file.name, "w", format=kind, options=more)
            try:
                stream = source.pictures if isinstance(source, Clip) else None
                encoding = encoding_for(container, stream, codec, quality, str(path))
                yield ClipWriter(path, container, source, encoding)
            except BaseException:
                with suppress(av.FFmpegError, OSError):  # the file is thrown away
                    container.close()
                raise
            container.close()
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}): choose another") from error


class ClipWriter:
    """Writes frames into an open container; see `clip_writer`."""

    def __init__(self, path: Path, container: Any, source: AnyClip, encoding: Encoding):
        self._path, self._container, self._source = path, container, source
        self._encoding = encoding
        self._stream: Any = None
        self._copied: dict[int, Any] = {}  # streams by their numbers in the source
        self._count, self._end = 0, 0.0

    def write(self, frame: AnyFrame) -> None:
        """Writes the next frame, and what lies before its end in the source's other streams."""
        if isinstance(frame, ClipFrame):
            picture, keeps_alpha = frame.frame, not frame.is_opaque
        else:
            picture, keeps_alpha = self._video_frame(frame), False
        if self._stream is None:
            self._begin(picture, keeps_alpha)
        if picture.format.name != self._stream.codec_context.pix_fmt:
            picture = _converted(picture, self._stream.codec_context.pix_fmt)
        picture.pict_type = 0  # the encoder chooses its own kinds of pictures
        self._container.mux(self._stream.encode(picture))
        self._count += 1
        base = picture.time_base
        length = picture.duration * base if picture.duration else 1 / self._source.rate
        self._end = float(picture.pts * base + length)
        self._pass_on(until=self._end)

    def finish(self, is_cut: bool) -> None:
        """Writes what is still in the encoder, and what else the source has.

        `is_cut`: whether the source goes on behind the last frame, with sound that is left out.
        """
        self._pass_on(until=self._end if is_cut else math.inf)
        self._container.mux(self._stream.encode(None))

    def _video_frame(self, frame: FolderFrame) -> Any:
        pixels = np.ascontiguousarray(frame.picture.pixels)
        kind = "rgb48le" if pixels.dtype == np.uint16 else "rgb24"
        picture = av.VideoFrame.from_ndarray(pixels, format=kind)
        picture.time_base = 1 / self._source.rate
        picture.pts, picture.duration = self._count, 1
        picture.color_range, picture.colorspace = FULL_RANGE, _RGB
        picture.color_primaries, picture.color_trc = _BT709, _SRGB
        return picture

    def _begin(self, picture: Any, keeps_alpha: bool) -> None:
        """Describes all streams, before the first frame."""
        codec, encoder, _, options = self._encoding
        stream = self._container.add_stream(encoder, rate=self._source.rate)
        context = stream.codec_context
        context.width, context.height = picture.width, picture.height
        context.pix_fmt, loses = pixel_format_for(encoder, picture.format.name, keeps_alpha)
        if loses:
            self._warn(
                f"{codec} does not hold the pixel format {picture.format.name}: "
                f"it becomes {context.pix_fmt}"
            )
        self._check_size(context)
        context.time_base = picture.time_base
        context.options = dict(options)
        flags = av.codec.context.Flags
        context.flags |= int(flags.frame_duration)
        if picture.interlaced_frame:
            context.flags |= int(flags.interlaced_dct) | int(flags.interlaced_me)
        _set_colors(context, picture)
        self._stream = stream
        if isinstance(self._source, Clip):
            self._describe(stream, picture, self._source)
        self._container.start_encoding()

    def _describe(self, stream: Any, picture: Any, source: Clip) -> None:
        """Takes over what the source says about its pictures, and all its other streams."""
        aspect = source.pictures.sample_aspect_ratio
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if aspect not in (None, 0, 1) and self._encoding.codec not in _HOLD_ASPECT:
            self._warn(
                f"{self._encoding.codec} cannot state that pixels are {aspect.numerator}:"
                f"{aspect.denominator} wide: h264 and hevc can"
            )
        turned = picture.side_data.get("DISPLAYMATRIX")
        if turned is not None:
            stream.set_display_matrix([int(value) for value in np.frombuffer(turned, "<i4")])
        stream.metadata.update(_tags(source.pictures))
        stream.disposition = source.pictures.disposition
        self._container.metadata.update(_tags(source.container))
        if chapters := source.container.chapters():
            self._container.set_chapters(chapters)
        for other in source.others:
            try:
                copy = self._container.add_stream_from_template(other, opaque=True)
            except (ValueError, av.FFmpegError):
                name = getattr(other.codec_context, "name", None) or "unknown"
                self._warn(
                    f"does not hold the {other.type} stream {other.index} ({name}) of "
                    f"{source.path}: it is left out"
                )
                continue
            copy.metadata.update(_tags(other))
            copy.disposition = other.disposition
            self._copied[other.index] = copy

    def _check_size(self, context: Any) -> None:
        """Raises InputError for sizes that an encoder cannot take."""
        kind = av.VideoFormat(context.pix_fmt)
        wide, tall = 16 // kind.chroma_width(16), 16 // kind.chroma_height(16)
        codec = self._encoding.codec
        if codec in _WHOLE_CHROMA and (context.width % wide or context.height % tall):
            raise InputError(
                f"{self._path}: frames of {context.width} x {context.height}, and {codec} "
                f"takes even sizes in {context.pix_fmt}: crop them, or choose another codec"
            )

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

    def _warn(self, text: str) -> None:
        _LOGGER.warning("%s: %s", self._path, text)


def _set_colors(context: Any, picture: Any) -> None:
    """Says what the numbers mean that the encoder gets."""
    from_rgb, to_rgb = picture.format.is_rgb, av.VideoFormat(context.pix_fmt).is_rgb
    context.color_range, context.colorspace = picture.color_range, picture.colorspace
    context.color_primaries, context.color_trc = picture.color_primaries, picture.color_trc
    if from_rgb and not to_rgb:
        context.color_range = _LIMITED_RANGE
        context.colorspace = context.color_trc = _BT709
    elif to_rgb and not from_rgb:
        context.color_range, context.colorspace = FULL_RANGE, _RGB


def _converted(picture: Any, name: str) -> Any:
    from_rgb, to_rgb = picture.format.is_rgb, av.VideoFormat(name).is_rgb
    colors: dict[str, Any] = {}
    if from_rgb and not to_rgb:
        colors = {"dst_colorspace": "ITU709", "dst_color_range": "MPEG"}
    elif to_rgb and not from_rgb:
        matrix = matrix_of(picture)
        colors = {
            "src_colorspace": 5 if matrix == 6 else matrix,  # swscale knows 6 as 5
            "src_color_range": "JPEG" if picture.color_range == FULL_RANGE else "MPEG",
            "dst_color_range": "JPEG",
        }
    flags = av.video.reformatter.Interpolation
    best = int(flags.BICUBIC) | int(flags.ACCURATE_RND) | int(flags.FULL_CHR_H_INT)
    # One thread, as in `Clip.frames`.
    return picture.reformat(format=name, interpolation=best, threads=1, **colors)


@contextmanager
def folder_writer(path: Path, ending: str | None, source: AnyClip) -> Iterator["FolderWriter"]:
    """A writer of a folder of pictures that appears when the block ends without an error.

    `ending`: of the pictures, such as .png; None: as those of a source folder, or .png.
    """
    for other in source.others if isinstance(source, Clip) else ():
        _LOGGER.warning(
            "%s: a folder holds pictures alone: the %s stream %d is left out",
            *(path, other.type, other.index),
        )
    with unfinished_folder(path) as folder:
        yield FolderWriter(folder, ending)


class FolderWriter:
    """Writes frames as pictures, named as those of a folder, or by the numbers of a clip's."""

    def __init__(self, folder: Path, ending: str | None):
        self._folder, self._ending, self._count = folder, ending, 0

    def finish(self, is_cut: bool) -> None:
        """All is written."""

    def write(self, frame: AnyFrame) -> None:
        """Writes the next frame."""
        self._count += 1
        if isinstance(frame, FolderFrame):
            name, picture = output_name(frame.path, self._ending), frame.picture
        else:
            name = f"{self._count:06d}{self._ending or '.png'}"
            picture = Picture(np.ascontiguousarray(frame.rgb()))
        write_picture(self._folder / name, picture)


def _tags(source: Any) -> dict[str, str]:
    return {key: value for key, value in source.metadata.items() if key.lower() not in _OWN_TAGS}
