"""PyAV, which brings FFmpeg's libraries. Without PyAV, importing this raises InputError."""

from typing import Any

from harmony_jax.errors import InputError

__all__ = ["av", "reason"]

av: Any
try:
    import av
except ImportError as error:
    raise InputError("video needs PyAV: pip install 'harmony_jax[video]'") from error


def reason(error: Exception) -> str:
    """FFmpeg's text of an error, without the error's number."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())
