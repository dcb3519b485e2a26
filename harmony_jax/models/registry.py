"""Models by their released names: a base network, and for most a backbone."""

import inspect
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple, get_args

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from harmony_jax.errors import InputError
from harmony_jax.models.arithmetic import precision_of
from harmony_jax.models.deeplab import DeepLabBackbone
from harmony_jax.models.dih import DeepImageHarmonization
from harmony_jax.models.feature_fusion import BackboneFeatures, check_fusion
from harmony_jax.models.foreground_aware import ForegroundAware
from harmony_jax.models.hrnet import HRNetBackbone
from harmony_jax.models.interfaces import Backbone, BaseNetwork, HarmonizationModel
from harmony_jax.models.layers import LayerMaker
from harmony_jax.models.unet import UNetHarmonization


class _Base(NamedTuple):
    network: type[BaseNetwork]
    image_size: int  # pixels a side that it was released for
    arguments: Mapping[str, Any]


class _Backbone(NamedTuple):
    network: type[Backbone]
    arguments: Mapping[str, Any]


class _Model(NamedTuple):
    base: str
    backbone: str | None = None
    arguments: Mapping[str, Any] = {}


_IDIH = {"batchnorm_from": 2, "image_fusion": True}
_S2AM = {"attention": "spatial_separated", "batchnorm_from": 2}
_IS2AM = {**_S2AM, "channels": 32, "image_fusion": True, "attention_width": 0.5}

_BASES = {
    "dih256": _Base(DeepImageHarmonization, 256, {"depth": 7}),
    "dih512": _Base(DeepImageHarmonization, 512, {"depth": 8}),
    "improved_dih256": _Base(DeepImageHarmonization, 256, {**_IDIH, "depth": 7}),
    "improved_dih512": _Base(DeepImageHarmonization, 512, {**_IDIH, "depth": 8}),
    "improved_sedih256": _Base(
        DeepImageHarmonization, 256, {**_IDIH, "depth": 7, "attend_from": 5}
    ),
    "improved_sedih512": _Base(
        DeepImageHarmonization, 512, {**_IDIH, "depth": 8, "attend_from": 6}
    ),
    "ssam256": _Base(UNetHarmonization, 256, {**_S2AM, "depth": 4, "attend_from": 2}),
    "improved_ssam256": _Base(UNetHarmonization, 256, {**_IS2AM, "depth": 4, "attend_from": 2}),
    "improved_ssam512": _Base(UNetHarmonization, 512, {**_IS2AM, "depth": 6, "attend_from": 3}),
    "iseunetv1_256": _Base(
        UNetHarmonization,
        256,
        {"attention": "masked_channel", "depth": 4, "attend_from": 1, "batchnorm_from": 2},
    ),
}

_HRNET = {"ocr_channels": 64, "multiscale": False, "pyramid_channels": 0, "dropout": 0.05}

_BACKBONES = {
    "hrnet18s": _Backbone(HRNetBackbone, {**_HRNET, "width": 18, "small": True}),
    "hrnet18": _Backbone(HRNetBackbone, {**_HRNET, "width": 18, "small": False}),
    "hrnet32": _Backbone(HRNetBackbone, {**_HRNET, "width": 32, "small": False}),
    "deeplab_r34": _Backbone(
        DeepLabBackbone, {"deeplab_channels": 256, "pyramid_channels": 0, "dropout": 0.2}
    ),
}

# How a base and a backbone are joined; see `ForegroundAware` and `BackboneFeatures`.
_JOIN = {"mask_fusion": "sum", "fuse_into": "encoder", "fuse_mode": "cat"}

# Of every model; see `LayerMaker`.
_COMMON = {"init_variance": 2.0}

# For an argument's type: type of its values, their name in messages, conversion from text.
_KINDS: dict[type, tuple[type, str, Callable[[str], Any]]] = {
    int: (Integral, "a whole number", int),
    float: (Real, "a number", float),
    bool: (bool, "true or false", lambda text: {"true": True, "false": False}[text.lower()]),
    str: (str, "a text", str),
}

_MODELS = {
    **{name: _Model(name) for name in _BASES},
    "improved_ssam256": _Model("improved_ssam256", None, {"init_variance": 1.0}),
    "iseunetv1_256": _Model("iseunetv1_256", None, {"init_variance": 1.0}),
    "deeplab_r34_idih256": _Model("improved_dih256", "deeplab_r34"),
    "hrnet18s_idih256": _Model("improved_dih256", "hrnet18s"),
    "hrnet18s_catc_idih256": _Model("improved_dih256", "hrnet18s", {"fuse_mode": "catc"}),
    "hrnet18s_sum_idih256": _Model("improved_dih256", "hrnet18s", {"fuse_mode": "sum"}),
    "hrnet18s_no_mask_idih256": _Model("improved_dih256", "hrnet18s", {"mask_fusion": "none"}),
    "hrnet18s_rgb_mask_idih256": _Model("improved_dih256", "hrnet18s", {"mask_fusion": "rgb"}),
    "hrnet18s_no_ocr_idih256": _Model("improved_dih256", "hrnet18s", {"ocr_channels": 0}),
    "hrnet18s_multiscale_idih256": _Model("improved_dih256", "hrnet18s", {"multiscale": True}),
    "hrnet18s_v2p_idih256": _Model("improved_dih256", "hrnet18s", {"pyramid_channels": 256}),
    "hrnet18s_sedih256": _Model("improved_sedih256", "hrnet18s"),
    "hrnet18s_issam256": _Model("improved_ssam256", "hrnet18s"),
    "hrnet18_idih256": _Model("improved_dih256", "hrnet18"),
    "hrnet18_v2p_idih256": _Model("improved_dih256", "hrnet18", {"pyramid_channels": 256}),
    "hrnet18_issam256": _Model("improved_ssam256", "hrnet18"),
    "hrnet32_idih256": _Model("improved_dih256", "hrnet32"),
    "hrnet32_issam256": _Model("improved_ssam256", "hrnet32"),
    "hrnet18_idih512": _Model("improved_dih512", "hrnet18"),
    "hrnet18_no_mask_idih512": _Model("improved_dih512", "hrnet18", {"mask_fusion": "none"}),
    "hrnet18_sedih512": _Model("improved_sedih512", "hrnet18"),
    "hrnet18_issam512": _Model("improved_ssam512", "hrnet18"),
}


def list_models() -> list[str]:
    """Names that `create_model` takes, sorted."""
    return sorted(_MODELS)


def list_backbones() -> list[str]:
    """Names that the argument `backbone` of `create_model` takes, sorted."""
    return sorted(_BACKBONES)


def released_image_size(name: str) -> int:
    """Pixels a side that a model was released for."""
    return _BASES[_find(name).base].image_size


def parse_argument(text: str) -> tuple[str, Any]:
    """An argument of `create_model` from text: "channels=8" is ("channels", 8)."""
    key, equals, value = text.partition("=")
    types = _argument_types()
    if not equals:
        raise InputError(f"{text!r}: expected NAME=VALUE, such as fuse_into=both")
    if key not in types:
        raise InputError(f"unknown argument {key!r}: choose from {', '.join(sorted(types))}")
    _, called, from_text = _KINDS[types[key]]
    try:
        return key, from_text(value)
    except (KeyError, ValueError) as error:
        raise InputError(f"{text}: expected {called}") from error


def create_model(
    name: str,
    *,
    rngs: nnx.Rngs,
    backbone: str | None = None,
    dtype: DTypeLike = jnp.float32,
    precision: str = "highest",
    gradient_dtype: DTypeLike | None = None,
    **overrides: Any,
) -> HarmonizationModel:
    """Builds a freshly initialised model, in training mode (`model.eval()` for inference).

    Args:
        name: a released name, one of `list_models()`.
        rngs: source of the initial weights, such as `nnx.Rngs(0)`.
        backbone: one of `list_backbones()`, instead of the released one; any fits any model.
        dtype: compute type; parameters and statistics stay float32.
        precision: of float32 products, forward and backward: `highest` is exact float32;
            `default` is the accelerator's own (GPU: TF32, TPU: bfloat16); `high` is between the
            two on a TPU. On a CPU all three are float32.
        gradient_dtype: type in which gradients of kernels are accumulated and summed over devices;
            by default `dtype`.
        **overrides: arguments that differ from the released ones, of the base network
            (`DeepImageHarmonization`, `UNetHarmonization`), of the backbone (`HRNetBackbone`,
            `DeepLabBackbone`) and of their junction: `mask_fusion` (sum, rgb, none), `fuse_into`
            (encoder, decoder, both), `fuse_mode` (cat, catc, sum).

    Returns:
        A module with `model(image, mask) -> Output`, NHWC. In training mode a model with dropout
        also needs `rngs=nnx.Rngs(dropout=...)`, unless it was made with `dropout=0.0`.
    """
    preset = _find(name)
    base = _BASES[preset.base]
    defaults = [base.arguments, _COMMON]
    networks: list[type[nnx.Module]] = [base.network]
    backbone = backbone or preset.backbone
    if backbone is not None:
        if backbone not in _BACKBONES:
            names = ", ".join(list_backbones())
            raise InputError(f"unknown backbone {backbone!r}: choose one of {names}")
        defaults += [_BACKBONES[backbone].arguments, _JOIN]
        networks.append(_BACKBONES[backbone].network)
    arguments = {k: v for part in defaults for k, v in part.items()} | dict(preset.arguments)
    known = sorted({*arguments, *(key for network in networks for key in _parameters(network))})
    for key in [*preset.arguments, *overrides]:
        if key not in known:
            joined = f"model {name!r}" + (f" on backbone {backbone!r}" if backbone else "")
            raise InputError(f"{joined} has no argument {key!r}: choose from {', '.join(known)}")
    _check_types(overrides)
    arguments |= overrides
    make = LayerMaker(
        rngs, dtype, arguments["init_variance"], precision_of(precision), gradient_dtype
    )

    def build(network: Any, **derived: Any) -> Any:
        wanted = _parameters(network)
        return network(make, **{k: v for k, v in arguments.items() if k in wanted}, **derived)

    if backbone is None:
        return build(base.network)
    halved = base.image_size == 512
    level = 3 if halved else 2  # of feature maps at stride 4 of the backbone's input
    feature_network = build(
        _BACKBONES[backbone].network, pyramid_depth=min(arguments["depth"] - level, 4)
    )
    features = BackboneFeatures(
        feature_network.output_channels, level, arguments["fuse_into"], arguments["fuse_mode"]
    )
    check_fusion(features)
    return ForegroundAware(
        make,
        build(base.network, backbone_features=features),
        feature_network,
        mask_fusion=arguments["mask_fusion"],
        halve_backbone_input=halved,
    )


def _find(name: str) -> _Model:
    if name not in _MODELS:
        raise InputError(f"unknown model {name!r}: choose one of {', '.join(list_models())}")
    return _MODELS[name]


def _argument_types() -> dict[str, type]:
    """The type of every argument that some model has, without None."""
    types: dict[str, type] = {"backbone": str, "init_variance": float, **dict.fromkeys(_JOIN, str)}
    parts: list[_Base | _Backbone] = [*_BASES.values(), *_BACKBONES.values()]
    for network in {part.network for part in parts}:
        parameters = inspect.signature(network.__init__).parameters
        for key in _parameters(network):
            annotation = parameters[key].annotation
            types[key] = (get_args(annotation) or (annotation,))[0]  # of `int | None`: int
    return types


def _check_types(arguments: Mapping[str, Any]) -> None:
    """Raises InputError if a value is of another type than its argument."""
    types = _argument_types()
    for key, value in arguments.items():
        kind, called, _ = _KINDS[types[key]]
        number_for_bool = isinstance(value, bool) and kind is not bool
        if value is not None and (number_for_bool or not isinstance(value, kind)):
            raise InputError(f"{key} {value!r}: expected {called}")


def _parameters(network: type[nnx.Module]) -> set[str]:
    """Arguments of a network that a user may set."""
    derived = {"self", "make", "backbone_features", "pyramid_depth"}
    return set(inspect.signature(network.__init__).parameters) - derived
