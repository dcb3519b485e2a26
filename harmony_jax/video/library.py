"""PyAV, which has FFmpeg's libraries: loaded when a clip is read, as not everybody installs it."""

from typing import Any

from harmony_jax.errors import InputError


def load() -> Any:
    """The module `av`.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
        import av.codec.codec
        import av.codec.context
    except ImportError as error:
        raise InputError("video needs PyAV: pip install 'harmony_jax[video]'") from error
    return av


def reason(error: Exception) -> str:
    """What FFmpeg says of an error, without its name for it."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())
