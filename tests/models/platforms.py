"""Each platform's forms, computed on this machine."""

from contextlib import AbstractContextManager
from types import SimpleNamespace

from harmony_jax.models.platform_forms import forms_for, portable_forms

DEVICES = {
    "cpu": SimpleNamespace(platform="cpu", device_kind="cpu"),
    "cuda": SimpleNamespace(platform="gpu", device_kind="NVIDIA H200"),
    "tpu": SimpleNamespace(platform="tpu", device_kind="TPU v5e"),
}
PLATFORMS = (*DEVICES, "portable")


def forms_of(platform: str) -> AbstractContextManager:
    """Within it, programs are traced in the forms of one of `PLATFORMS`."""
    return portable_forms() if platform == "portable" else forms_for([DEVICES[platform]])
