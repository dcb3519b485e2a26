"""Which codec a clip is written in, how well, and in which pixel format."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from harmony_jax.errors import InputError
from harmony_jax.video.library import load

QUALITY = 64  # of 1 to 100: of H.264 a constant rate factor of 18, at which no loss is seen


class _Codec(NamedTuple):
    encoder: str  # FFmpeg's name
    worst: float | None  # the rate factor of quality 0, where 100 is 0; None: without loss
    options: Mapping[str, str] = MappingProxyType({})


# By FFmpeg's names of what they write. Presets: docs/performance.md.
_CODECS = {
    "h264": _Codec("libx264", 50.0, {"preset": "ultrafast"}),
    "hevc": _Codec("libx265", 50.0, {"preset": "fast", "x265-params": "log-level=error"}),
    "av1": _Codec("libsvtav1", 60.0, {"preset": "8"}),
    "vp9": _Codec("libvpx-vp9", 60.0, {"b": "0", "row-mt": "1", "cpu-used": "4"}),
    "prores": _Codec("prores_ks", 30.0),
    "ffv1": _Codec("ffv1", None, {"level": "3", "slicecrc": "1"}),
    "png": _Codec("png", None),
    "qtrle": _Codec("qtrle", None),
}
CODECS = tuple(_CODECS)

_DEFAULTS = {"webm": "vp9"}  # of containers, where the clip's own is not at hand; else H.264
_NOT_IN = {"mov": ("av1", "vp9")}  # of containers, though FFmpeg lists them
_PRORES = {
    "Proxy": "proxy",
    "LT": "lt",
    "Standard": "standard",
    "HQ": "hq",
    "4444": "4444",
    "4444 XQ": "4444xq",
}


class Encoding(NamedTuple):
    """How a clip is encoded.

    Attributes:
        codec: a name of `CODECS`.
        encoder: FFmpeg's name of what writes it.
        options: of the encoder.
        is_lossless: whether every number comes back.
    """

    codec: str
    encoder: str
    options: dict[str, str]
    is_lossless: bool


def encoding_for(
    output: Any, source: Any | None, wanted: str | None, quality: int | None, label: str
) -> Encoding:
    """How a clip is to be encoded.

    Args:
        output: PyAV's container that it is written to.
        source: the stream that it comes from, or None for pictures.
        wanted: a name of `CODECS`, or None: the source's own codec, where it can be written; else
            that of the container.
        quality: 1 to 100, or None for `QUALITY`.
        label: of the output, for messages.

    Raises:
        InputError: the codec cannot be written, or not into this container.
    """
    at_hand = [name for name in CODECS if _is_at_hand(name)]
    listed, not_in = output.supported_codecs, _NOT_IN.get(output.format.name, ())
    allowed = [name for name in at_hand if _CODECS[name].encoder in listed and name not in not_in]
    if wanted is not None:
        if wanted not in at_hand:
            raise InputError(
                f"--codec {wanted}: there is no encoder of it: use one of {_list(at_hand)}"
            )
        if wanted not in allowed:
            raise InputError(
                f"{label}: does not hold {wanted}: use one of {_list(allowed)}, or another ending"
            )
        name = wanted
    else:
        own = None if source is None else _canonical(source)
        name = own if own in allowed else _DEFAULTS.get(output.format.name, "h264")
        if name not in allowed:
            raise InputError(f"{label}: there is no encoder of {name}: pass --codec")
    codec = _CODECS[name]
    options = dict(codec.options)
    if codec.worst is None:
        if quality is not None:
            raise InputError(f"--quality {quality}: {name} is without loss: leave it out")
    else:
        options |= _quality_options(name, codec.worst, QUALITY if quality is None else quality)
    if name == "prores" and source is not None and _canonical(source) == "prores":
        profile = _PRORES.get(source.codec_context.profile or "")
        options |= {"profile": profile} if profile else {}
    is_lossless = codec.worst is None or (name == "h264" and options["crf"] == "0")
    return Encoding(name, codec.encoder, options, is_lossless)


def pixel_format_for(encoder: str, source: str, keeps_alpha: bool) -> tuple[str, bool]:
    """The pixel format that an encoder is given.

    Args:
        encoder: its name.
        source: the frames' format.
        keeps_alpha: whether their alpha, if they have one, is to be written.

    Returns:
        Its name, and whether something is lost on the way to it.
    """
    av = load()
    offered = [format_.name for format_ in av.Codec(encoder, "w").video_formats or []]
    wanted = source if keeps_alpha else without_alpha(source)
    if wanted in offered or not offered:
        return wanted, False
    best, loss = av.codec.codec.find_best_pix_fmt_of_list(offered, wanted, keeps_alpha)
    assert best is not None
    return best.name, bool(loss)


def without_alpha(name: str) -> str:
    """The pixel format that is as another one, but opaque."""
    opaque = {
        "rgba": "rgb24",
        "bgra": "bgr24",
        "argb": "rgb24",
        "abgr": "bgr24",
        "rgba64le": "rgb48le",
        "bgra64le": "bgr48le",
    }
    return opaque.get(name, name.replace("yuva", "yuv").replace("gbrap", "gbrp"))


def _quality_options(name: str, worst: float, quality: int) -> dict[str, str]:
    factor = (100 - quality) / 100 * worst
    if name == "prores":
        return {"global_quality": str(round(118 * max(1, factor))), "flags": "+qscale"}
    if name == "vp9" and quality == 100:
        return {"lossless": "1"}
    return {"crf": f"{factor:g}" if name in ("h264", "hevc") else str(round(factor))}


def _is_at_hand(name: str) -> bool:
    av = load()
    try:
        av.Codec(_CODECS[name].encoder, "w")
    except ValueError:
        return False
    return True


def _canonical(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name


def _list(names: list[str]) -> str:
    return ", ".join(names)
