"""`benchmark.py video`: how steady harmonized clips are, and how fast.

Clips are made of photos: the object is cut out and moves over the photo, which pans behind it with
the hole filled; it is recoloured as composites for training are, so that the real clip is known.
"""

import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
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
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.photos.steady import Steadiness
from harmony_jax.video.run import VideoSettings, harmonize_clip

_NOISE = 2.0  # levels of 255, a standard deviation; of a camera in good light
_PAN, _MOVE = 2, 3  # pixels a frame: of the background, and of the object in the picture
_LEAST, _MOST = 0.05, 0.25  # of the photo that objects are
_AREA = 8  # pixels a side of the areas whose means are compared


class MadeClip(NamedTuple):
    """A clip whose harmonized form is known.

    Attributes:
        composites: frames, uint8.
        real: what they should become.
        masks: 255 on the object.
        places: row and column of the object's window in each frame.
        window: the object's mask in its window.
    """

    composites: list[np.ndarray]
    real: list[np.ndarray]
    masks: list[np.ndarray]
    places: list[tuple[int, int]]
    window: np.ndarray


def made_clips(root: str, count: int, frames: int, moving: bool) -> Iterator[MadeClip]:
    """Clips of a folder's photos with masks; still ones have the noise of a sensor alone."""
    source = PhotosSource(PhotoSet(root, regions=0), Recipe.of(base.get_config().data.composites))
    made = 0
    for number in np.random.default_rng(0).permutation(len(source)).tolist():
        if made == count:
            return
        sample = source[number]
        composite, real, mask = sample["composite"], sample["real"], sample["mask"]
        if not _LEAST < (mask > 127).mean() < _MOST:
            continue
        made += 1
        yield _made(composite, real, mask, frames, moving, np.random.default_rng(number))
    if made < count:
        raise SystemExit(f"error: {root}: only {made} fitting objects for {count} clips")


def _made(
    composite: np.ndarray,
    real: np.ndarray,
    mask: np.ndarray,
    frames: int,
    moving: bool,
    rng: np.random.Generator,
) -> MadeClip:
    left, top, width, height = cv2.boundingRect(mask)
    part = (slice(top, top + height), slice(left, left + width))
    window = mask[part].astype(np.float32)[..., None] / 255
    hole = cv2.dilate(mask, np.ones((7, 7), np.uint8))
    ground = cv2.inpaint(real, (hole > 0).astype(np.uint8), 5, cv2.INPAINT_TELEA)
    pan = _PAN * (frames - 1) if moving else 0
    side_rows, side_columns = real.shape[0], real.shape[1]
    ground = cv2.copyMakeBorder(ground, 0, 0, 0, pan, cv2.BORDER_REFLECT)
    results: tuple[list, list, list, list] = ([], [], [], [])
    span = max(1, side_columns - width)
    for t in range(frames):
        # There and back again, within the picture.
        column = left if not moving else span - abs((left + _MOVE * t) % (2 * span) - span)
        behind = ground[:side_rows, _PAN * t if moving else 0 :][:, :side_columns]
        noise = rng.normal(0, _NOISE, real.shape)
        place = (slice(top, top + height), slice(column, column + width))
        own_mask = np.zeros(mask.shape, np.uint8)
        own_mask[place] = mask[part]
        for pixels, result in ((composite, results[0]), (real, results[1])):
            frame = behind.astype(np.float32)
            frame[place] += window * (pixels[part] - frame[place])
            result.append(np.rint(np.clip(frame + noise, 0, 255)).astype(np.uint8))
        results[2].append(own_mask)
        results[3].append((top, column))
    return MadeClip(*results, window=mask[part])


class Measured(NamedTuple):
    """What is measured of a harmonized clip: mean squares inside the mask, of levels of 255.

    Attributes:
        fmse: of the difference from the real clip.
        deviation: of what that difference changes by from one frame to the next, along with the
            object.
        area_deviation: the same of the means over areas, which the sensor's noise hardly touches.
    """

    fmse: float
    deviation: float
    area_deviation: float


def measured(clip: MadeClip, frames: list[np.ndarray]) -> Measured:
    """Compares a clip with the real one."""
    height, width = clip.window.shape
    inside = (cv2.erode(clip.window, np.ones((3, 3), np.uint8)) == 255).astype(np.float32)
    errors, squares = [], []
    for frame, real, mask, (top, left) in zip(
        frames, clip.real, clip.masks, clip.places, strict=True
    ):
        error = frame.astype(np.float32) - real
        weight = mask.astype(np.float32)[..., None] / 255
        squares.append(float((error**2 * weight).sum() / (3 * weight.sum())))
        errors.append(error[top : top + height, left : left + width])
    changes = [after - before for before, after in pairwise(errors)]
    total = 3 * inside.sum()
    deviation = np.mean([(change**2 * inside[..., None]).sum() / total for change in changes])
    shares = _areas(inside)
    weight = (shares > 0.5) * shares
    areas = [
        _areas(change * inside[..., None]) / np.maximum(shares, 1e-6)[..., None]
        for change in changes
    ]
    of_areas = np.mean([(area**2 * weight[..., None]).sum() / (3 * weight.sum()) for area in areas])
    return Measured(float(np.mean(squares)), float(deviation), float(of_areas))


def _areas(values: np.ndarray) -> np.ndarray:
    size = tuple(max(1, side // _AREA) for side in values.shape[1::-1])
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA)


def measure_steadiness(root: str, count: int, frames: int, ways: list[tuple[float, int]]) -> None:
    """Prints a row for each way: deviations from frame to frame, fMSE, CPU seconds a frame.

    Args:
        root: a folder of photos with masks.
        count: clips of each kind.
        frames: of each clip.
        ways: smoothing, and of how many frames the network sees one; the first is compared with.
    """
    harmonizer = Harmonizer.from_checkpoint()
    for moving in (False, True):
        kind = "moving" if moving else "still"
        print(f"{kind}: {count} clips of {frames} frames, noise of {_NOISE:g} levels")
        sums = {way: np.zeros(3) for way in ways}
        before = np.zeros(3)
        for clip in made_clips(root, count, frames, moving):
            before += np.array(measured(clip, clip.composites))
            for way in ways:
                smoothing, every = way
                result = harmonizer.harmonize_video(
                    clip.composites, clip.masks, smoothing=smoothing, every=every
                )
                sums[way] += np.array(measured(clip, list(result)))
        first = np.sqrt(sums[ways[0]] / count)
        print("smoothing every   fMSE   deviation (falls by)   of areas (falls by)")
        print(f"untouched          {before[0] / count:7.1f}")
        for way, total in sums.items():
            rms = np.sqrt(total / count)
            falls = [f"{rms[k]:6.3f} ({100 * (1 - rms[k] / first[k]):3.0f} %)" for k in (1, 2)]
            print(f"{way[0]:9g} {way[1]:5d} {total[0] / count:7.2f}   {falls[0]}   {falls[1]}")


def measure_speed(root: str, frames: int, everys: list[int]) -> None:
    """Prints frames/s of a clip of 1920 x 1080 in H.264, from file to file, the model loaded.

    Args:
        root: a folder of photos with masks.
        frames: of the clip.
        everys: of how many frames the network sees one.
    """
    harmonizer = Harmonizer.from_checkpoint()
    (clip,) = made_clips(root, 1, frames, moving=True)
    with tempfile.TemporaryDirectory() as folder:
        source, mask, output = (Path(folder) / f"{name}.mp4" for name in ("clip", "mask", "out"))
        _write(source, clip.composites)
        _write(mask, clip.masks)
        print(f"1920 x 1080, {frames} frames, H.264 to H.264, {usable_cores()} cores")
        print("every   frames/s   CPU ms a frame")
        for every in everys:
            settings = VideoSettings(steadiness=Steadiness(every=every), overwrite=True)
            _compile(harmonizer, clip, settings.steadiness)
            start, used = time.perf_counter(), time.process_time()
            harmonize_clip(harmonizer, source, mask, output, settings)
            seconds, used = time.perf_counter() - start, time.process_time() - used
            print(f"{every:5d} {frames / seconds:10.2f} {used / frames * 1e3:16.0f}")


def _compile(harmonizer: Harmonizer, clip: MadeClip, steadiness: Steadiness) -> None:
    frames = clip.composites[:1], clip.masks[:1]
    for _ in harmonizer.harmonize_video(*frames, every=steadiness.every):
        pass


def _write(path: Path, pictures: list[np.ndarray]) -> None:
    """Enlarged to 1920 x 1080, with the noise of a sensor of that size."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.codec_context.options = {"crf": "18", "preset": "veryfast"}
        for number, pixels in enumerate(pictures):
            large = cv2.resize(pixels, (1920, 1080), interpolation=cv2.INTER_CUBIC)
            if large.ndim == 3:
                noise = rng.normal(0, _NOISE, (1080, 1920, 1)).astype(np.float32)
                large = np.clip(large + noise, 0, 255).astype(np.uint8)
            else:
                large = np.repeat(large[..., None], 3, 2)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(large), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
