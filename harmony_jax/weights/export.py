"""Models as files that run without this package: StableHLO for JAX, or ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel
from harmony_jax.models.arithmetic import set_precision
from harmony_jax.models.platform_forms import portable_forms
from harmony_jax.normalization import denormalize, normalize
from harmony_jax.variables import split

PLATFORMS = ("cpu", "cuda", "tpu")
INPUTS = ("composite", "mask")

# jax2onnx 0.17 needs parts that newer ones lack; so says the extra `export` in pyproject.toml.
MAX_JAX = (0, 11)

# Of the ONNX standard; what onnxruntime 1.18 and newer read.
_OPSET = 21
# How much an exported program's output may differ from the model's, in [0, 255].
TOLERANCE = 1e-3 * 255


def export_stablehlo(
    model: HarmonizationModel, image_size: int, platforms: Sequence[str] = PLATFORMS
) -> bytes:
    """Exports a model, with its weights, as a serialized `jax.export.Exported`.

    `jax.export.deserialize(data).call(composite, mask)` runs it: `composite` float32 [batch,
    image_size, image_size, 3] RGB in [0, 255] and `mask` float32 [batch, image_size, image_size],
    1 on the foreground, for any batch size. It returns a dictionary: `harmonized` as the composite
    and, if the model has a blending layer, `blend_mask` as the mask (the paper's M_A).

    Args:
        model: in evaluation mode.
        image_size: pixels a side.
        platforms: to run on, of `PLATFORMS`; each gets the form that is fastest there.
    """
    model.check_image_size(image_size, image_size)
    unknown = [platform for platform in platforms if platform not in PLATFORMS]
    if unknown or not platforms:
        raise InputError(f"platforms {','.join(platforms)!r}: choose from {', '.join(PLATFORMS)}")
    (batch,) = jax.export.symbolic_shape("batch")
    exporter = jax.export.export(jax.jit(_program(model)), platforms=platforms)
    exported = exporter(*_arguments(batch, image_size))
    try:
        return bytes(exported.serialize())
    except ImportError as error:
        raise InputError(
            "exporting StableHLO needs flatbuffers: pip install 'harmony_jax[export]'"
        ) from error


def export_onnx(model: HarmonizationModel, image_size: int) -> bytes:
    """Exports a model, with its weights, as an ONNX file's content.

    Its inputs are `composite` and `mask`, its outputs `harmonized` and `blend_mask`, with shapes
    and ranges as in `export_stablehlo`. The model is in evaluation mode.
    """
    model.check_image_size(image_size, image_size)
    if jax.__version_info__[:2] > MAX_JAX:
        raise InputError(
            f"exporting ONNX needs JAX {'.'.join(map(str, MAX_JAX))} or older, not "
            f"{jax.__version__}: pip install 'harmony_jax[export]'"
        )
    try:
        from jax2onnx import to_onnx
    except ImportError as error:
        raise InputError(
            "exporting ONNX needs jax2onnx: pip install 'harmony_jax[export]'"
        ) from error
    program = _program(model)
    names = sorted(jax.eval_shape(program, *_arguments(1, image_size)))
    sides = ("batch", image_size, image_size)
    with portable_forms():
        onnx_model = to_onnx(
            lambda composite, mask: tuple(map(program(composite, mask).get, names)),
            [(*sides, 3), sides],
            model_name="harmony_jax",
            opset=_OPSET,
            input_names=INPUTS,
            output_names=names,
        )
    return onnx_model.SerializeToString()


def this_platform() -> str:
    """The one of `PLATFORMS` that programs run on here."""
    platform = jax.default_backend()
    return "cuda" if platform == "gpu" else platform


def stablehlo_difference(data: bytes, model: HarmonizationModel, image_size: int) -> float:
    """How much the outputs of a StableHLO export for `this_platform` differ, in [0, 255]."""
    exported = jax.export.deserialize(bytearray(data))
    return _difference(exported.call, model, image_size)


def onnx_difference(data: bytes, model: HarmonizationModel, image_size: int) -> float:
    """How much the outputs of an ONNX export in onnxruntime differ, in [0, 255]."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "checking ONNX needs onnxruntime: pip install 'harmony_jax[export]'"
        ) from error
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(*inputs: np.ndarray) -> dict[str, np.ndarray]:
        found = session.run(names, dict(zip(INPUTS, inputs, strict=True)))
        return dict(zip(names, found, strict=True))

    return _difference(run, model, image_size)


def _difference(
    run: Callable[[np.ndarray, np.ndarray], Any], model: HarmonizationModel, image_size: int
) -> float:
    """The largest difference on two pictures of noise with a rectangular foreground.

    That of blend masks is multiplied by 255. The model's own products are exact.
    """
    model = nnx.clone(model)
    set_precision(model, "highest")
    composite, mask = (np.zeros(a.shape, np.float32) for a in _arguments(2, image_size))
    composite += np.random.default_rng(0).uniform(0, 255, composite.shape)
    mask[:, image_size // 4 : image_size // 2, image_size // 3 : image_size // 2] = 1
    expected = jax.jit(_program(model))(composite, mask)
    found = run(composite, mask)
    assert found.keys() == expected.keys()
    return max(
        float(np.abs(np.asarray(found[name]) - np.asarray(values)).max())
        * (255 if name == "blend_mask" else 1)
        for name, values in expected.items()
    )


def _arguments(batch: Any, image_size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    sides = (batch, image_size, image_size)
    return (
        jax.ShapeDtypeStruct((*sides, 3), jnp.float32),
        jax.ShapeDtypeStruct(sides, jnp.float32),
    )


def _program(model: HarmonizationModel) -> Callable[[Array, Array], dict[str, Array]]:
    """From pixels to pixels; the weights are constants."""
    graph, variables = split(model)

    def run(
        composite: Float[Array, "batch height width 3"], mask: Float[Array, "batch height width"]
    ) -> dict[str, Array]:
        output = nnx.merge(graph, *variables)(normalize(composite), mask[..., None])
        found = {"harmonized": jnp.clip(denormalize(output.image), 0, 255)}
        if output.blend_mask is not None:
            found["blend_mask"] = output.blend_mask[..., 0].astype(jnp.float32)
        return found

    return run
