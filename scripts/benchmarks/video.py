"""`benchmark.py video`: how steady harmonized clips are, and how fast.

Clips are made of photos: the object is cut out and moves over the photo, which pans behind it with
the hole filled. It is recoloured like the composites of a training, so the real clip is known.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from configs import base
from harmony_jax import Harmonizer
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.sources import Sample
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.photos.steady import Steadiness
from harmony_jax.video.run import VideoSettings, harmonize_clip

_NOISE = 2.0  # standard deviation in levels of 255, as of a camera in good light
_PAN, _MOVE = 2, 3  # pixels a frame, of the background and of the object in the picture
_RATIO = (0.05, 0.25)  # share of the photo that objects cover
_AREA = 8  # pixels a side of the areas whose means are compared
_SIZE = (1920, 1080)  # width and height of the clip that is timed


class _Clip(NamedTuple):
    """A clip whose harmonized form is known."""

    composites: list[np.ndarray]  # frames, uint8
    real: list[np.ndarray]  # what they should become
    masks: list[np.ndarray]  # 255 on the object
    places: list[tuple[int, int]]  # row and column of the object's window in each frame
    window: np.ndarray  # the object's mask in its window


def measure(arguments: argparse.Namespace) -> None:
    """Prints how steady each way of averaging is, and how fast each `every` is."""
    if arguments.ways:
        for moving in (False, True):
            _measure_steadiness(arguments, moving)
    if arguments.everys:
        _measure_speed(arguments)


def _measure_steadiness(arguments: argparse.Namespace, moving: bool) -> None:
    """Prints a row for each way; falls are relative to the first way."""
    harmonizer, count, ways = Harmonizer.from_checkpoint(), arguments.clips, arguments.ways
    kind = "moving" if moving else "still"
    print(f"{kind}: {count} clips of {arguments.frames} frames, noise of {_NOISE:g} levels")
    untouched, sums = 0.0, {way: np.zeros(3) for way in ways}
    for clip in _clips(arguments.photos, count, arguments.frames, moving):
        untouched += _measured(clip, clip.composites)[0]
        for smoothing, every in ways:
            result = harmonizer.harmonize_video(
                clip.composites, clip.masks, smoothing=smoothing, every=every
            )
            sums[smoothing, every] += _measured(clip, list(result))
    first = np.sqrt(sums[ways[0]] / count)
    print("smoothing every   fMSE   deviation (falls by)   of areas (falls by)")
    print(f"untouched          {untouched / count:7.1f}")
    for (smoothing, every), total in sums.items():
        rms = np.sqrt(total / count)
        falls = [f"{rms[k]:6.3f} ({100 * (1 - rms[k] / first[k]):3.0f} %)" for k in (1, 2)]
        print(f"{smoothing:9g} {every:5d} {total[0] / count:7.2f}   {falls[0]}   {falls[1]}")


def _measure_speed(arguments: argparse.Namespace) -> None:
    """Prints frames/s of a large clip in H.264, from file to file, with the model loaded."""
    harmonizer, frames = Harmonizer.from_checkpoint(), arguments.frames
    (clip,) = _clips(arguments.photos, 1, frames, moving=True)
    with tempfile.TemporaryDirectory() as folder:
        source, mask, output = (Path(folder) / f"{name}.mp4" for name in ("clip", "mask", "out"))
        _write(source, clip.composites)
        _write(mask, clip.masks)
        print(f"{_SIZE[0]} x {_SIZE[1]}, {frames} frames, H.264 to H.264, {usable_cores()} cores")
        print("every   frames/s   CPU ms a frame")
        for every in arguments.everys:
            # Compiles the programs.
            list(harmonizer.harmonize_video(clip.composites[:1], clip.masks[:1], every=every))
            settings = VideoSettings(steadiness=Steadiness(every=every), overwrite=True)
            start, used = time.perf_counter(), time.process_time()
            harmonize_clip(harmonizer, source, mask, output, settings)
            seconds, used = time.perf_counter() - start, time.process_time() - used
            print(f"{every:5d} {frames / seconds:10.2f} {used / frames * 1e3:16.0f}")


def _clips(root: str, count: int, frames: int, moving: bool) -> Iterator[_Clip]:
    """Clips of a folder's photos with masks; still ones differ only in the sensor's noise."""
    source = PhotosSource(PhotoSet(root, regions=0), Recipe.of(base.get_config().data.composites))
    for number in np.random.default_rng(0).permutation(len(source)).tolist():
        if not count:
            return
        sample = source[number]
        if _RATIO[0] < (sample["mask"] > 127).mean() < _RATIO[1]:
            count -= 1
            yield _clip(sample, frames, moving, np.random.default_rng(number))
    if count:
        raise SystemExit(f"error: {root}: {count} clips lack a fitting object")


def _clip(sample: Sample, frames: int, moving: bool, rng: np.random.Generator) -> _Clip:
    composite, real, mask = sample["composite"], sample["real"], sample["mask"]
    left, top, width, height = cv2.boundingRect(mask)
    part = np.s_[top : top + height, left : left + width]
    window = mask[part].astype(np.float32)[..., None] / 255
    hole = cv2.dilate(mask, np.ones((7, 7), np.uint8))
    ground = cv2.inpaint(real, (hole > 0).astype(np.uint8), 5, cv2.INPAINT_TELEA)
    ground = cv2.copyMakeBorder(ground, 0, 0, 0, _PAN * (frames - 1), cv2.BORDER_REFLECT)
    clip = _Clip([], [], [], [], mask[part])
    side = real.shape[1]
    span = max(1, side - width)
    for t in range(frames):
        # There and back again, within the picture.
        column = span - abs((left + _MOVE * t) % (2 * span) - span) if moving else left
        behind = ground[:, _PAN * t * moving :][:, :side]
        noise = rng.normal(0, _NOISE, real.shape)
        place = np.s_[top : top + height, column : column + width]
        for pixels, result in ((composite, clip.composites), (real, clip.real)):
            frame = behind.astype(np.float32)
            frame[place] += window * (pixels[part] - frame[place])
            result.append(np.rint(np.clip(frame + noise, 0, 255)).astype(np.uint8))
        clip.masks.append(np.zeros(mask.shape, np.uint8))
        clip.masks[-1][place] = mask[part]
        clip.places.append((top, column))
    return clip


def _measured(clip: _Clip, frames: list[np.ndarray]) -> np.ndarray:
    """Compares a clip with the real one, inside the mask, in squares of levels of 255.

    Returns:
        The fMSE; the mean square of what the error changes by from one frame to the next, along
        with the object; and the same of means over areas, which the noise hardly touches.
    """
    height, width = clip.window.shape
    inside = (cv2.erode(clip.window, np.ones((3, 3), np.uint8)) == 255).astype(np.float32)
    errors, squares = [], []
    for frame, real, mask, (top, left) in zip(
        frames, clip.real, clip.masks, clip.places, strict=True
    ):
        error = frame.astype(np.float32) - real
        squares.append(_mean_square(error, mask.astype(np.float32) / 255))
        errors.append(error[top : top + height, left : left + width])
    changes = [after - before for before, after in pairwise(errors)]
    shares = _areas(inside)
    areas = [
        _areas(change * inside[..., None]) / np.maximum(shares, 1e-6)[..., None]
        for change in changes
    ]
    weight = (shares > 0.5) * shares
    return np.array(
        [
            np.mean(squares),
            np.mean([_mean_square(change, inside) for change in changes]),
            np.mean([_mean_square(area, weight) for area in areas]),
        ]
    )


def _mean_square(error: np.ndarray, weight: np.ndarray) -> float:
    return float((error**2 * weight[..., None]).sum() / (3 * weight.sum()))


def _areas(values: np.ndarray) -> np.ndarray:
    size = tuple(max(1, side // _AREA) for side in values.shape[1::-1])
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA)


def _write(path: Path, pictures: list[np.ndarray]) -> None:
    """Enlarges the pictures and adds the noise of a sensor of that size."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        (stream.width, stream.height), stream.pix_fmt = _SIZE, "yuv420p"
        stream.codec_context.options = {"crf": "18", "preset": "veryfast"}
        for pixels in pictures:
            large = cv2.resize(pixels, _SIZE, interpolation=cv2.INTER_CUBIC)
            if large.ndim == 3:
                noise = rng.normal(0, _NOISE, (*large.shape[:2], 1)).astype(np.float32)
                large = np.clip(large + noise, 0, 255).astype(np.uint8)
            else:
                large = np.repeat(large[..., None], 3, 2)
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(large.astype(np.uint8), "rgb24"))
            )
        container.mux(stream.encode(None))
