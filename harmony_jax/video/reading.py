"""A clip in a file, frame by frame, with all that lies beside its pictures."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harmony_jax.errors import InputError
from harmony_jax.video.frames import ClipFrame
from harmony_jax.video.library import load, reason
from harmony_jax.video.pixels import check_colors, check_format, worked_format

_ALPHA_DECODERS = {"vp9": "libvpx-vp9", "vp8": "libvpx"}  # FFmpeg's own leave alpha out
_SLACK = 3  # frames that a file's own count may be off by


class Streams(NamedTuple):
    """What a clip's file holds.

    Attributes:
        container: PyAV's, open.
        pictures: the stream of them.
        others: those of all else.
    """

    container: Any
    pictures: Any
    others: list[Any]


class Clip:
    """A file of video, to be read once from its beginning.

    Args:
        path: the file.

    Attributes:
        path: the file.
        streams: what it holds.
        rate: frames a second, on average.
        count: how many frames it says that it has, or None.
        passed_on: packets of other streams, in the order of the file.

    Raises:
        InputError: it cannot be read, is no video, or one of a kind that is not taken.
    """

    def __init__(self, path: Path):
        self.path = path
        self._av = load()
        self._container = _opened(self._av, path)
        try:
            self.streams = self._found()
            self.rate, self.count = self._pace()
            self._decoder = self._made_decoder()
        except BaseException:
            self._container.close()
            raise
        self.passed_on: deque[Any] = deque()

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def frames(self, to_change: bool = True) -> Iterator[ClipFrame]:
        """The frames in order of time.

        On the way, packets of other streams come into `passed_on`.

        Args:
            to_change: whether frames may be changed, for which they are copied.

        Raises:
            InputError: a part cannot be decoded, or there is no frame.
        """
        copy: Any = None
        number, last = 0, None
        for frame in self._decoded():
            if frame.time_base is None:
                frame.time_base = self.streams.pictures.time_base
            if last is None:
                check_format(frame.format, str(self.path))
                copy = _Copy(self._av, frame, to_change)
            if copy.shape != (frame.width, frame.height, frame.format.name):
                raise InputError(
                    f"{self.path}: frame {number} is {frame.width} x {frame.height} "
                    f"{frame.format.name}, those before {copy.shape[0]} x {copy.shape[1]} "
                    f"{copy.shape[2]}: cut the clip there"
                )
            check_colors(frame, str(self.path))
            if frame.pts is None:
                frame.pts = 0 if last is None else last + self._step(frame)
            if last is not None and frame.pts <= last:  # broken; nothing could be written so
                frame.pts = last + 1
            last = frame.pts
            yield ClipFrame(copy.of(frame), _turns(frame))
            number += 1
        if last is None:
            raise InputError(f"{self.path}: there is no frame in it: replace it")
        self.read = number

    def ends_early(self) -> bool:
        """Whether it had fewer frames than it told, once all were read."""
        if self.count is None:
            return False
        return self.read < self.count - max(_SLACK, self.count // 100)

    def _step(self, frame: Any) -> int:
        return max(1, round(1 / (self.rate * frame.time_base)))

    def _found(self) -> Streams:
        streams = self._container.streams
        pictures = [
            stream
            for stream in streams.video
            if not stream.disposition & self._av.stream.Disposition.attached_pic
        ]
        if not pictures:
            kinds = ", ".join(sorted({stream.type for stream in streams})) or "nothing"
            raise InputError(f"{self.path}: there is no video in it, only {kinds}")
        stream = pictures[0]
        if stream.codec_context is None:
            raise InputError(f"{self.path}: no decoder for its video is at hand: convert it first")
        others = [other for other in streams if other is not stream]
        return Streams(self._container, stream, others)

    def _pace(self) -> tuple[Fraction, int | None]:
        """Frames a second, on average, and how many there are, if it tells."""
        stream, duration = self.streams.pictures, self._container.duration
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        if not stream.frames and duration:
            return rate, round(duration * rate / 1_000_000)
        return rate, stream.frames or None

    def _made_decoder(self) -> Any:
        stream = self.streams.pictures
        name = stream.codec_context.name
        tags = {key.lower(): value for key, value in stream.metadata.items()}
        if name in _ALPHA_DECODERS and tags.get("alpha_mode") == "1":
            decoder = self._av.CodecContext.create(_ALPHA_DECODERS[name], "r")
            decoder.extradata = stream.codec_context.extradata
            return decoder
        stream.codec_context.thread_type = "AUTO"
        return stream.codec_context

    def _decoded(self) -> Iterator[Any]:
        stream, time = self.streams.pictures, None
        packets = iter(self._container.demux())
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                if packet.stream is not stream:
                    if packet.dts is not None or packet.pts is not None:
                        self.passed_on.append(packet)
                    continue
                frames = self._decoder.decode(packet if packet.size else None)
            except (self._av.FFmpegError, ValueError) as error:
                place = f" after {time:.2f} s" if time is not None else ""
                raise InputError(
                    f"{self.path}: cannot be decoded{place} ({reason(error)}): replace or repair it"
                ) from error
            for frame in frames:
                time = frame.time if frame.time is not None else time
                yield frame
            if not packet.size:
                break


class _Copy:
    """Copies frames, which decoders go on reading, and unpacks them where that is needed."""

    def __init__(self, av: Any, frame: Any, to_change: bool):
        self.shape = (frame.width, frame.height, frame.format.name)
        name = worked_format(frame.format.name, frame.format.is_big_endian)
        self._graph = None if name == frame.format.name and not to_change else av.filter.Graph()
        if self._graph is None:
            return
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        parts = [source, self._graph.add("format", pix_fmts=name), self._graph.add("copy")]
        parts.append(self._graph.add("buffersink"))
        for part, other in pairwise(parts):
            part.link_to(other)
        self._graph.configure()

    def of(self, frame: Any) -> Any:
        if self._graph is None:
            return frame
        self._graph.push(frame)
        return self._graph.pull()


def _turns(frame: Any) -> int:
    """Quarter turns, counterclockwise, from how a frame is stored to how it is shown."""
    return round(frame.rotation / 90) % 4


def _opened(av: Any, path: Path) -> Any:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder: check the path")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty: replace it")
    try:
        try:
            return av.open(str(path))
        except UnicodeDecodeError:  # of PyAV before 19
            return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as a video ({reason(error)}): check or replace it"
        ) from error


def display_matrix(frame: Any) -> list[int] | None:
    """How a frame is turned to be shown, as FFmpeg stores it; None for upright ones."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return None if matrix is None else [int(value) for value in np.frombuffer(matrix, "<i4")]
