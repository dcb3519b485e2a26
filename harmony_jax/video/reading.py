"""A clip, frame by frame: a file with all that lies beside its pictures, or a folder."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from harmony_jax.disk import read_file
from harmony_jax.errors import InputError
from harmony_jax.photos.decoding import decode_picture
from harmony_jax.photos.picture import MAX_PIXELS
from harmony_jax.photos.recolor import Recolor
from harmony_jax.video.files import pictures_in
from harmony_jax.video.frames import ClipFrame, FolderFrame
from harmony_jax.video.library import av, reason
from harmony_jax.video.pixels import check_colors, planar_format

_ALPHA_DECODERS = {"vp9": "libvpx-vp9", "vp8": "libvpx"}  # FFmpeg's own leave alpha out
_SLACK = 3  # frames by which a file's own count may be wrong


class Clip:
    """A file of video, to be read once from its beginning.

    Attributes:
        container: PyAV's, open.
        pictures: the stream of pictures.
        others: all other streams.
        rate: frames a second, on average.
        count: the number of frames that the file states, or None.
        passed_on: packets of other streams, in the order of the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.container = _opened(path)
        try:
            self.pictures = self._found()
            self._decoder = self._made_decoder()
        except BaseException:
            self.container.close()
            raise
        self.others = [other for other in self.container.streams if other is not self.pictures]
        self.rate = Fraction(self.pictures.average_rate or self.pictures.guessed_rate or 25)
        self.count: int | None = self.pictures.frames or None
        if self.count is None and self.container.duration:
            self.count = round(self.container.duration * self.rate / av.time_base)
        self.passed_on: deque[Any] = deque()
        self._read = 0

    def close(self) -> None:
        """Closes the file."""
        self.container.close()

    def frames(self, to_change: bool = True) -> Iterator[ClipFrame]:
        """The frames in order of time; packets of other streams come into `passed_on`.

        `to_change`: whether frames may be changed, for which they are copied.
        """
        shape, planar, last = None, "", None
        for frame in self._decoded():
            name = frame.format.name
            if shape is None:
                shape = (frame.width, frame.height, name)
                planar = planar_format(frame.format, str(self.path))
            if shape != (frame.width, frame.height, name):
                raise InputError(
                    f"{self.path}: frame {self._read} is {frame.width} x {frame.height} {name}, "
                    f"those before {shape[0]} x {shape[1]} {shape[2]}: cut the clip there"
                )
            check_colors(frame, str(self.path))
            self._set_time(frame, last)
            last = frame.pts
            if name != planar:
                # With more threads, swscale now and then leaves rows out.
                unpacked = frame.reformat(format=planar, threads=1)
                unpacked.colorspace = frame.colorspace  # the same by another number
                frame = unpacked
            elif to_change:  # decoders go on reading the frames that they gave
                frame.make_writable()
            yield ClipFrame(frame)
            self._read += 1
        if last is None:
            raise InputError(f"{self.path}: there is no frame in it: replace it")

    def ends_early(self) -> bool:
        """Whether it had fewer frames than it states, once all were read."""
        if self.count is None:
            return False
        return self._read < self.count - max(_SLACK, self.count // 100)

    def _set_time(self, frame: Any, last: int | None) -> None:
        """Gives a frame a time behind the last one's, as files need; broken ones lack it."""
        if frame.time_base is None:
            frame.time_base = self.pictures.time_base
        if frame.pts is None:
            step = max(1, round(1 / (self.rate * frame.time_base)))
            frame.pts = 0 if last is None else last + step
        if last is not None and frame.pts <= last:
            frame.pts = last + 1

    def _found(self) -> Any:
        streams = self.container.streams
        cover = av.stream.Disposition.attached_pic
        pictures = [stream for stream in streams.video if not stream.disposition & cover]
        if not pictures:
            kinds = ", ".join(sorted({stream.type for stream in streams})) or "nothing"
            raise InputError(f"{self.path}: there is no video in it, only {kinds}")
        if pictures[0].codec_context is None:
            raise InputError(f"{self.path}: there is no decoder for its video: convert it first")
        return pictures[0]

    def _made_decoder(self) -> Any:
        own = self.pictures.codec_context
        tags = {key.lower(): value for key, value in self.pictures.metadata.items()}
        if own.name in _ALPHA_DECODERS and tags.get("alpha_mode") == "1":
            decoder = av.CodecContext.create(_ALPHA_DECODERS[own.name], "r")
            decoder.extradata = own.extradata
            return decoder
        own.thread_type = "AUTO"
        return own

    def _decoded(self) -> Iterator[Any]:
        place = ""
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if packet.stream is not self.pictures:
                    if packet.dts is not None or packet.pts is not None:
                        self.passed_on.append(packet)
                    continue
                frames = self._decoder.decode(packet if packet.size else None)
            except (av.FFmpegError, ValueError) as error:
                raise InputError(
                    f"{self.path}: cannot be decoded{place} ({reason(error)}): replace or repair it"
                ) from error
            for frame in frames:
                if frame.time is not None:
                    place = f" after {frame.time:.2f} s"
                yield frame
            if not packet.size:
                return


class FolderClip:
    """Pictures of a folder, in the order of their names; `rate`: frames a second."""

    def __init__(self, path: Path, rate: Fraction):
        self.path, self.rate = path, rate
        self._paths = pictures_in(path)
        self.count = len(self._paths)

    def close(self) -> None:
        """Nothing is open."""

    def frames(self) -> Iterator[FolderFrame]:
        """The pictures; raises InputError for one that cannot be read, or of another size."""
        paint, first = Recolor(), None
        for path in self._paths:
            picture = decode_picture(read_file(path), str(path), MAX_PIXELS)
            size = picture.pixels.shape[:2]
            first = first or size
            if size != first:
                raise InputError(
                    f"{path}: is {size[1]} x {size[0]}, the frames before {first[1]} x {first[0]}: "
                    "all frames need one size"
                )
            yield FolderFrame(path, picture, paint)

    def ends_early(self) -> bool:
        """Whether frames are missing at the end."""
        return False


AnyClip = Clip | FolderClip


def _opened(path: Path) -> Any:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder: check the path")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty: replace it")
    try:
        try:
            return av.open(str(path))
        except UnicodeDecodeError:  # PyAV before 19
            return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as a video ({reason(error)}): check or replace it"
        ) from error
