"""Which codec a clip is written in, how well, and in which pixel format."""

from typing import Any, NamedTuple

from harmony_jax.errors import InputError
from harmony_jax.video.library import av

_QUALITY = 64  # of 1 to 100; for H.264 a constant rate factor of 18, at which no loss is seen


class Encoding(NamedTuple):
    """How a clip is encoded, in FFmpeg's names."""

    codec: str
    encoder: str
    worst: float | None  # rate factor of quality 0, where that of 100 is 0; None: lossless
    options: dict[str, str]  # of the encoder


# Presets: docs/performance.md.
_CODECS = {
    encoding.codec: encoding
    for encoding in (
        Encoding("h264", "libx264", 50.0, {"preset": "ultrafast"}),
        Encoding("hevc", "libx265", 50.0, {"preset": "fast", "x265-params": "log-level=error"}),
        Encoding("av1", "libsvtav1", 60.0, {"preset": "8"}),
        Encoding("vp9", "libvpx-vp9", 60.0, {"b": "0", "row-mt": "1", "cpu-used": "4"}),
        Encoding("prores", "prores_ks", 30.0, {}),
        Encoding("ffv1", "ffv1", None, {"level": "3", "slicecrc": "1"}),
        Encoding("png", "png", None, {}),
        Encoding("qtrle", "qtrle", None, {}),
    )
}
_NOT_IN = {"mov": ("av1", "vp9")}  # by container, though FFmpeg lists them


def encoding_for(
    output: Any, source: Any | None, wanted: str | None, quality: int | None, label: str
) -> Encoding:
    """How to encode a clip.

    Args:
        output: PyAV's container that it is written to.
        source: the stream that it comes from, or None for pictures.
        wanted: a codec, or None: the source's own if it can be written, else the container's.
        quality: 1 to 100, or None for the default.
        label: of the output, for messages.
    """
    available = [n for n, e in _CODECS.items() if e.encoder in av.codecs_available]
    not_in = _NOT_IN.get(output.format.name, ())
    allowed = [
        name
        for name in available
        if _CODECS[name].encoder in output.supported_codecs and name not in not_in
    ]
    own = None if source is None else source.codec_context.codec.canonical_name
    default = "vp9" if output.format.name == "webm" else "h264"
    name = wanted or (own if own in allowed else default)
    if name not in available:
        raise InputError(
            f"codec {name}: there is no encoder for it: use one of {', '.join(available)}"
        )
    if name not in allowed:
        raise InputError(
            f"{label}: cannot hold {name}: use one of {', '.join(allowed)}, or another ending"
        )
    encoding = _CODECS[name]
    options = dict(encoding.options)
    if encoding.worst is not None:
        options |= _quality_options(name, encoding.worst, quality or _QUALITY)
    elif quality is not None:
        raise InputError(f"quality {quality}: {name} is lossless: leave the quality out")
    if name == own == "prores" and source is not None:
        # Profiles are called "4444 XQ" where they are read, and "4444xq" where they are written.
        profile = (source.codec_context.profile or "").lower().replace(" ", "")
        options |= {"profile": profile} if profile else {}
    return encoding._replace(options=options)


def pixel_format_for(encoder: str, source: str, keeps_alpha: bool) -> tuple[str, bool]:
    """The pixel format that frames get for an encoder, and whether something is lost by it."""
    offered = [format_.name for format_ in av.Codec(encoder, "w").video_formats or []]
    wanted = source if keeps_alpha else source.replace("yuva", "yuv").replace("gbrap", "gbrp")
    if wanted in offered or not offered:
        return wanted, False
    best, loss = av.codec.codec.find_best_pix_fmt_of_list(offered, wanted, keeps_alpha)
    return best.name, bool(loss)


def _quality_options(name: str, worst: float, quality: int) -> dict[str, str]:
    factor = (100 - quality) / 100 * worst
    if name == "prores":
        return {"global_quality": str(round(118 * max(1, factor))), "flags": "+qscale"}
    if name == "vp9" and quality == 100:
        return {"lossless": "1"}
    return {"crf": f"{factor:g}" if name in ("h264", "hevc") else str(round(factor))}
