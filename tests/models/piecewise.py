"""Runs a model part by part, each part compiled once for all models that have it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

import jax
from flax import nnx

from harmony_jax.models import deeplab, dih, feature_pyramid, layers, ocr, residual, resizing, unet
from harmony_jax.models.batchnorm import BatchNorm
from harmony_jax.models.platform_forms import forms_for
from tests.compiling import fused_unoptimized

PARTS = (
    residual.BasicBlock,
    residual.Bottleneck,
    ocr.ObjectContext,
    deeplab.SpatialPyramidPooling,
    feature_pyramid.FeaturePyramid,
    dih.DoublingConv,
    unet.UpBlock,
    layers.Conv,
    layers.Named,
    layers.Sequential,
    BatchNorm,
)

_inside = False  # in a part that is compiled; parts of it are compiled with it


@contextmanager
def compiled_in_parts() -> Iterator[None]:
    """Within it, a model in evaluation that is called compiles its parts one by one."""
    with ExitStack() as stack:
        stack.enter_context(forms_for(jax.devices()[:1]))
        resize = jax.jit(resizing._resize, static_argnums=1)
        stack.enter_context(mock.patch.object(resizing, "_resize", resize))
        for part in PARTS:
            call = _compiled(part.__call__)
            stack.enter_context(mock.patch.object(part, "__call__", call))
        yield


def _compiled(call: Callable) -> Callable:
    def call_compiled(self: nnx.Module, *inputs: Any) -> Any:
        if _inside or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(inputs)):
            return call(self, *inputs)
        return _jitted()(call, *nnx.split(self), inputs)

    return call_compiled


@cache
def _jitted() -> Callable:
    options = fused_unoptimized() if jax.default_backend() == "cpu" else None
    return jax.jit(_run, static_argnums=(0, 1), compiler_options=options)


def _run(call: Callable, graph: Any, variables: Any, inputs: Any) -> Any:
    global _inside
    _inside = True
    try:
        return call(nnx.merge(graph, variables), *inputs)
    finally:
        _inside = False
