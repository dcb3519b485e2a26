"""PyAV, which has FFmpeg's libraries. Without it, importing what reads clips is an InputError."""

from typing import Any

from harmony_jax.errors import InputError

__all__ = ["av", "reason"]

av: Any
try:
    import av
except ImportError as error:
    raise InputError("video needs PyAV: pip install 'harmony_jax[video]'") from error


def reason(error: Exception) -> str:
    """What FFmpeg says of an error, without its name for it."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())
