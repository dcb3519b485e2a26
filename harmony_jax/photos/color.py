"""What a photo's numbers mean: conversion to sRGB, which networks are trained on, and back.

LittleCMS reads the profiles. Its fast path for 16 bits is off by up to 27 of 255 (ProPhoto to
sRGB), that for 8 bits by half a step. So the whole picture takes the fast path of 8 bits, and the
foreground, which changes, the exact one.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import imagecodecs
import numpy as np
from jaxtyping import UInt, UInt16

from harmony_jax.errors import InputError
from harmony_jax.photos.picture import to_uint8, to_uint16

_EXACT = imagecodecs.CMS.FLAGS.NOOPTIMIZE | imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION
_FAST = imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION
_INTENT = imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC
_SRGB = imagecodecs.cms_profile("srgb")
_AS_GOOD = 1.0  # of 255: a profile that differs less from sRGB is sRGB
_ROWS_AT_ONCE = 64

# Red, green, blue and white by their numbers in ITU-T H.273.
_D65 = (0.3127, 0.3290)
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
_UNSPECIFIED = 2
# Exponents of H.273's curves; None is sRGB's curve, which programs also use to show video's.
_GAMMAS = {1: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
HDR = {16: "PQ", 18: "HLG"}

Primaries = Sequence[Sequence[float]]


class Conversion(NamedTuple):
    """From the colours of a profile to sRGB and back."""

    profile: bytes

    def to_srgb(
        self, pixels: UInt[np.ndarray, "h w 3"], mask: np.ndarray
    ) -> UInt16[np.ndarray, "h w 3"]:
        """The picture in sRGB, exact where the mask is not 0, else to a step of 255."""
        result = np.empty(pixels.shape, np.uint16)
        for rows in _strips(mask):
            part, inside = pixels[rows], mask[rows] > 0
            result[rows] = _transformed(to_uint8(part), self.profile, _SRGB, _FAST)
            result[rows][inside] = _exactly(to_uint16(part[inside]), self.profile, _SRGB)
        return result

    def carried_back(
        self,
        pixels: UInt[np.ndarray, "h w 3"],
        srgb: UInt16[np.ndarray, "h w 3"],
        changed: UInt16[np.ndarray, "h w 3"],
        mask: np.ndarray,
    ) -> UInt[np.ndarray, "h w 3"]:
        """The picture with the change from `srgb`, which `to_srgb` made of it, to `changed`.

        Only the difference is carried back, so colours outside of sRGB stay where nothing changes.
        Where the mask is 0 the result equals `pixels`.
        """
        most = np.iinfo(pixels.dtype).max
        result = pixels.copy()
        for rows in _strips(mask):
            inside = (mask[rows] > 0) & (changed[rows] != srgb[rows]).any(2)
            before = _exactly(srgb[rows][inside], _SRGB, self.profile).astype(np.float32)
            after = _exactly(changed[rows][inside], _SRGB, self.profile).astype(np.float32)
            moved = pixels[rows][inside] + (after - before) * np.float32(most / 65535)
            result[rows][inside] = np.rint(np.clip(moved, 0, most)).astype(pixels.dtype)
        return result


def conversion_of(profile: bytes | None) -> Conversion | None:
    """How to convert a profile's colours; None if it is unusable or as good as sRGB."""
    if profile is None or not is_usable(profile, grey=True) or _is_srgb(profile):
        return None
    return Conversion(profile)


def convert(
    pixels: UInt[np.ndarray, "h w 3"], source: bytes | None, target: bytes | None, mask: np.ndarray
) -> UInt16[np.ndarray, "h w 3"]:
    """The picture in another profile's colours (None: sRGB); black where the mask is 0."""
    result = np.zeros(pixels.shape, np.uint16)
    for rows in _strips(mask):
        inside = mask[rows] > 0
        colors = to_uint16(pixels[rows][inside])
        result[rows][inside] = _exactly(colors, source or _SRGB, target or _SRGB)
    return result


@functools.lru_cache(16)
def is_usable(profile: bytes, grey: bool) -> bool:
    """Whether colours can be converted by a profile both ways; `grey` allows one of greys too."""
    if len(profile) < 128 or profile[16:20] not in ((b"RGB ", b"GRAY") if grey else (b"RGB ",)):
        return False
    sample = np.full((1, 3), 30_000, np.uint16)
    try:
        _exactly(_exactly(sample, profile, _SRGB), _SRGB, profile)
    except (imagecodecs.CmsError, ValueError):
        return False
    return True


def check_range(profile: bytes) -> None:
    """Raises InputError if a profile is of HDR, which its `cicp` tag says."""
    count = int.from_bytes(profile[128:132], "big")
    for at in range(132, min(132 + 12 * count, len(profile) - 11), 12):
        if profile[at : at + 4] == b"cicp":
            start = int.from_bytes(profile[at + 4 : at + 8], "big")
            check_transfer(profile[start + 9] if start + 9 < len(profile) else _UNSPECIFIED)


def profile_of_code_points(primaries: int, transfer: int) -> bytes | None:
    """The profile that H.273's numbers describe (None: sRGB); raises InputError for HDR."""
    check_transfer(transfer)
    if primaries != _UNSPECIFIED and primaries not in PRIMARIES:
        raise InputError(f"unknown colours (primaries {primaries} of H.273): convert it to sRGB")
    return make_profile(PRIMARIES.get(primaries, PRIMARIES[1]), _GAMMAS.get(transfer))


def check_transfer(transfer: int) -> None:
    """Raises InputError for an HDR or unknown brightness curve of H.273."""
    if transfer in HDR:
        raise InputError(f"an HDR picture ({HDR[transfer]}), brighter than white: save it as SDR")
    if transfer != _UNSPECIFIED and transfer not in _GAMMAS:
        raise InputError(f"unknown brightness (transfer {transfer} of H.273): convert it to sRGB")


@functools.lru_cache(16)
def make_profile(primaries: Primaries, gamma: float | None) -> bytes | None:
    """The profile of primaries (x and y of red, green, blue, white) and a gamma; None for sRGB.

    `gamma` is the exponent from stored numbers to light, or None for sRGB's curve.
    """
    if primaries == PRIMARIES[1] and gamma is None:
        return None
    *colors, white = primaries
    curve: dict = {"gamma": gamma}
    if gamma is None:
        stored = np.linspace(0, 1, 4096)
        light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
        curve = {"transferfunction": light.astype(np.float32)}
    return _undated(
        imagecodecs.cms_profile(
            "rgb",
            whitepoint=[*white, 1.0],
            primaries=[value for color in colors for value in (*color, 1.0)],
            **curve,
        )
    )


def adobe_rgb() -> bytes:
    """Adobe RGB (1998), which cameras declare in EXIF without a profile."""
    return _undated(imagecodecs.cms_profile("adobergb"))


def _undated(profile: bytes) -> bytes:
    """The profile with a fixed creation time, so that it is the same every time."""
    return profile[:24] + bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]) + profile[36:]


@functools.lru_cache(16)
def _is_srgb(profile: bytes) -> bool:
    if profile[16:20] == b"GRAY":
        stored = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[:, None], 3, 1)
    else:
        steps = np.linspace(0, 65535, 9).astype(np.uint16)
        stored = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    found = _exactly(stored, profile, _SRGB).astype(float)
    return bool(np.abs(found - stored).max() <= _AS_GOOD * 257)


def _exactly(colors: np.ndarray, source: bytes, target: bytes) -> UInt16[np.ndarray, "n 3"]:
    """Colours [n, 3] of uint16, converted one by one without interpolation tables."""
    return _transformed(colors[None], source, target, _EXACT)[0]


def _transformed(
    pixels: np.ndarray, source: bytes, target: bytes, flags: int
) -> UInt16[np.ndarray, "h w 3"]:
    """Converts by LittleCMS, for which the three equal channels of a grey picture are one."""
    grey_source, grey_target = (profile[16:20] == b"GRAY" for profile in (source, target))
    given = np.ascontiguousarray(pixels[..., :1] if grey_source else pixels)
    if not given.size:
        return np.empty(pixels.shape, np.uint16)
    found = imagecodecs.cms_transform(
        given[..., 0] if grey_source else given,
        source,
        target,
        colorspace="gray" if grey_source else "rgb",
        outcolorspace="gray" if grey_target else "rgb",
        outdtype=np.uint16,
        intent=_INTENT,
        flags=flags,
    )
    if grey_target:
        return np.repeat(found.reshape(*pixels.shape[:2], 1), 3, 2)
    return found


def _strips(mask: np.ndarray) -> Iterator[slice]:
    """Groups of rows, so that intermediate arrays stay small."""
    for start in range(0, len(mask), _ROWS_AT_ONCE):
        yield slice(start, start + _ROWS_AT_ONCE)
