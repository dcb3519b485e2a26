"""Predictions and metrics of every image of a set, compiled and sharded."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from harmony_jax.ahead import Ahead
from harmony_jax.build import EVALUATION_PRECISION, compute_precision
from harmony_jax.data.evaluation_data import PIXELS, EvaluationData, sizing_of
from harmony_jax.data.predictions import Predictions
from harmony_jax.data.sources import Source, sample_name
from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError
from harmony_jax.evaluation.metrics import (
    COMPOSITE,
    ImageMetrics,
    Summary,
    foreground_ratio,
    image_errors,
    summarize,
)
from harmony_jax.evaluation.picture_sheet import Pictures
from harmony_jax.evaluation.ssim import ssim
from harmony_jax.models import HarmonizationModel
from harmony_jax.models.arithmetic import set_precision
from harmony_jax.models.channel_padding import pad_channels
from harmony_jax.models.platform_forms import forms_for
from harmony_jax.normalization import denormalize, network_inputs
from harmony_jax.variables import Variables, split


class EvaluationStoppedError(RuntimeError):
    """An evaluation was asked to stop, and has no result."""


@dataclass(frozen=True)
class Evaluation:
    """Result over one set.

    Attributes:
        per_image: numbers of each image, in the order of the set.
        left_out: images that could not be read, and why, one text each.
        pictures: of the images asked for, by index into `per_image`.
        data_set: `Source.published`.
    """

    per_image: list[ImageMetrics]
    left_out: list[str]
    pictures: dict[int, Pictures]
    data_set: str = ""

    @cached_property
    def model(self) -> Summary:
        """Means of the model's predictions (`harmony_jax.evaluation.metrics.summarize`)."""
        return summarize(self.per_image)

    @cached_property
    def composite(self) -> Summary:
        """Means of the composites taken as predictions."""
        return summarize(self.per_image, COMPOSITE)

    @property
    def examples(self) -> list[tuple[ImageMetrics, Pictures]]:
        """The images with pictures."""
        return [(self.per_image[index], pictures) for index, pictures in self.pictures.items()]


class Evaluator:
    """Compiled once for each size, evaluates a model's variables on any set.

    Args:
        model: gives the structure; None evaluates ready predictions. Whatever its own precision,
            products of float32 are exact unless the config's `model.precision` says otherwise.
        config: its `evaluation` section, `data.image_size` and `num_workers`, `model.precision`.
            The batch is filled up to a multiple of the devices.
        mesh: batches are sharded over it; the numbers are the same on any.
        with_ssim: whether to compute it, which takes longer than all other metrics together.
    """

    def __init__(
        self,
        model: HarmonizationModel | None,
        config: ConfigDict,
        mesh: Mesh,
        *,
        with_ssim: bool = False,
    ):
        self._batch_size = meshes.round_up(config.evaluation.batch_size, mesh)
        self._config, self._mesh = config, mesh
        self._sizing = sizing_of(config, model.size_divisor if model else 1)
        graph, tree = None, None
        if model is not None:
            if self._sizing.resize == "square":
                model.check_image_size(*self._sizing.size(0, 0))
            model = nnx.clone(model)
            model.eval()
            set_precision(model, compute_precision(config, unset=EVALUATION_PRECISION))
            pad_channels(model, mesh.devices.flat[0].platform)
            graph, structure = split(model)
            tree = jax.tree.structure(structure)

        def measure(arrays: list[Array], batch: dict[str, Array]) -> dict[str, Any]:
            image, mask, _ = network_inputs(batch)
            results: dict[str, Any] = {}
            if graph is None or tree is None:
                prediction = batch["prediction"].astype(jnp.float32)
            else:
                variables = jax.tree.unflatten(tree, arrays)
                output = nnx.merge(graph, *variables)(image, mask)
                if config.evaluation.flip:
                    mirrored = nnx.merge(graph, *variables)(image[:, :, ::-1], mask[:, :, ::-1])
                    output = jax.tree.map(lambda a, b: (a + b[:, :, ::-1]) / 2, output, mirrored)
                prediction = denormalize(output.image)
                if output.blend_mask is not None:
                    results["blend_mask"] = output.blend_mask[..., 0]
            composite, real = (batch[key].astype(prediction.dtype) for key in ("composite", "real"))
            valid = _valid(batch["extent"], *mask.shape[1:3]) if "extent" in batch else None
            model_errors = image_errors(prediction, real, mask, valid)
            composite_errors = image_errors(composite, real, mask, valid)
            if with_ssim:
                images = (jnp.clip(prediction, 0, 255), composite)
                both = ssim(images, real, valid)
                model_errors["SSIM"], composite_errors["SSIM"] = both
            errors = {"foreground_ratio": foreground_ratio(mask, valid), **model_errors}
            errors |= {COMPOSITE + name: values for name, values in composite_errors.items()}
            return {"errors": errors, "prediction": prediction, **results}

        # A list of arrays, because each call would look at every node of a tree. In training they
        # may be divided over the mesh.
        self._measure = jax.jit(forms_for(list(mesh.devices.flat))(measure))

    def evaluate(
        self,
        variables: Variables | None,
        source: Source,
        *,
        shown: Collection[int] = (),
        predictions: Predictions | None = None,
        stops: Callable[[], bool] = lambda: False,
    ) -> Evaluation:
        """Evaluates every sample of a source once.

        Args:
            variables: the model's.
            source: the samples.
            shown: samples whose pictures are wanted, by their number.
            predictions: of the source's samples, if there is no model.
            stops: asked before every batch whether to give up.

        Raises:
            EvaluationStoppedError: `stops` said so.
        """
        if not len(source):
            raise InputError("nothing to evaluate: the set has no sample")
        data = EvaluationData(
            source,
            self._sizing,
            self._batch_size,
            self._config.data.num_workers,
            predictions,
            (jax.process_index(), jax.process_count()),
        )
        arrays = jax.tree.leaves(variables)
        per_image: dict[int, ImageMetrics] = {}
        pictures: dict[int, Pictures] = {}
        names = PIXELS if predictions else PIXELS[:3]
        stopped = False
        feed = Ahead(meshes.to_devices(batch, self._mesh) for batch in data.batches)
        for number, batch in enumerate(feed):
            stopped = stops()
            if stopped:
                del batch
                break
            readable = batch.pop("readable")
            results = self._measure(arrays, batch)
            errors, readable = _to_host((results.pop("errors"), readable))
            wanted = {}
            for row, index in enumerate(data.indices(number)):
                if index < 0:
                    continue
                if not readable[row]:
                    data.left_out.add(index)
                    continue
                values = {name: float(column[row]) for name, column in errors.items()}
                named = {"subset": source.subset(index), "name": source.name(index)}
                per_image[index] = {**named, **values}
                if index in shown:
                    wanted[index] = row
            if wanted:
                arrays_of = {name: batch[name] for name in (*names, "extent") if name in batch}
                pictures |= _rows({**arrays_of, **results}, wanted)
                del arrays_of
            del batch, readable  # on a CPU they may lie in memory that is shared with the workers
        feed.close()
        data.batches.close()
        if stopped:
            raise EvaluationStoppedError
        order = sorted(per_image)
        return Evaluation(
            [per_image[index] for index in order],
            [f"{sample_name(source, i)}: {data.reason(i)}" for i in sorted(data.left_out)],
            {order.index(index): pictures[index] for index in sorted(pictures)},
            source.published,
        )


def spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` indices below `count`, evenly spread."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(wanted, count))})


def _valid(
    extent: Int[Array, "batch 4"], height: int, width: int
) -> Float[Array, "batch height width 1"]:
    """1 inside each picture, 0 in its padding."""

    def inside(side: int, axis: int) -> Array:
        start, length = extent[:, axis, None], extent[:, axis + 2, None]
        places = jnp.arange(side)[None]
        return (places >= start) & (places < start + length)

    rows, columns = inside(height, 0)[:, :, None, None], inside(width, 1)[:, None, :, None]
    return (rows & columns).astype(jnp.float32)


def _rows(arrays: dict[str, Any], wanted: dict[int, int]) -> dict[int, Pictures]:
    """The pictures of a batch's rows, each by its sample; copies, which do without the batch."""
    fetched = _to_host(arrays)
    return {
        index: _pictures({name: array[row].copy() for name, array in fetched.items()})
        for index, row in wanted.items()
    }


def _pictures(arrays: dict[str, Any]) -> Pictures:
    extent = arrays.pop("extent", None)
    if extent is not None:
        top, left, height, width = extent.tolist()
        arrays = {k: array[top : top + height, left : left + width] for k, array in arrays.items()}
    return Pictures(**{"blend_mask": None, **arrays})


def _to_host(tree: Any) -> Any:
    """Whole arrays on every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)
