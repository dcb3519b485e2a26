"""Evaluation: every image once, the model's prediction beside the composite itself."""

import logging
import os
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from harmony_jax import mesh as meshes
from harmony_jax.data.evaluation_data import PIXELS, EvaluationData, sizing_of
from harmony_jax.data.feed import Feed
from harmony_jax.data.iharmony4 import SUBSETS
from harmony_jax.data.pipeline import close_batches, open_split
from harmony_jax.data.predictions import Predictions
from harmony_jax.data.sources import Selection, Source
from harmony_jax.errors import InputError
from harmony_jax.evaluation_files import write_evaluation
from harmony_jax.experiment import check_numbers, compute_dtype, model_arguments
from harmony_jax.html_report import choose_shown
from harmony_jax.metrics import (
    COMPOSITE,
    Record,
    Summary,
    foreground_ratio,
    image_errors,
    summarize,
)
from harmony_jax.models import HarmonizationModel
from harmony_jax.normalization import denormalize, network_inputs
from harmony_jax.report import Example, Pictures
from harmony_jax.saved_model import load_model
from harmony_jax.ssim import ssim
from harmony_jax.variables import Variables, split

_LOGGER = logging.getLogger(__name__)


class Evaluation:
    """Result over one set.

    Args:
        records: one an image (`harmony_jax.metrics.Record`), in the order of the set.
        left_out: images that could not be read, and why, one text each.
        pictures: of the images asked for, by index into `records`.
    """

    def __init__(self, records: list[Record], left_out: list[str], pictures: dict[int, Pictures]):
        self.records, self.left_out, self.pictures = records, left_out, pictures

    @cached_property
    def model(self) -> Summary:
        """Means of the model's predictions (`harmony_jax.metrics.summarize`)."""
        return summarize(self.records)

    @cached_property
    def composite(self) -> Summary:
        """Means of the composites taken as predictions."""
        return summarize(self.records, COMPOSITE)

    @property
    def examples(self) -> list[Example]:
        """The images with pictures."""
        return [
            Example(
                title=f"{record['subset']} {record['name']}",
                pictures=pictures,
                composite_mse=record[f"{COMPOSITE}MSE"],
                model_mse=record["MSE"],
            )
            for index, pictures in self.pictures.items()
            for record in [self.records[index]]
        ]


class Evaluator:
    """Compiled once for each size, evaluates a model's variables on any set.

    Args:
        model: gives the structure; None evaluates ready predictions.
        config: its `evaluation` section, and `data.image_size` and `num_workers`.
        mesh: batches are sharded over it; the numbers are the same on any.
        with_ssim: whether to compute it, which takes longer than all other metrics together.

    Raises:
        InputError: the batch size does not fit the mesh, or a field that cannot be.
    """

    def __init__(
        self,
        model: HarmonizationModel | None,
        config: ConfigDict,
        mesh: Mesh,
        *,
        with_ssim: bool = False,
    ):
        meshes.check_batch_size("evaluation.batch_size", config.evaluation.batch_size, mesh)
        self._config, self._mesh = config, mesh
        self._sizing = sizing_of(config, model.size_divisor if model else 1)
        graph = None
        if model is not None:
            if self._sizing.resize == "square":
                model.check_image_size(*self._sizing.size(0, 0))
            model = nnx.clone(model)
            model.eval()
            graph = nnx.graphdef(model)

        def measure(
            variables: Variables | None, batch: dict[str, Array], counter: Int[Array, ""]
        ) -> dict[str, Any]:
            image, mask, _ = network_inputs(batch)
            results: dict[str, Any] = {}
            if graph is None or variables is None:
                prediction = batch["prediction"].astype(jnp.float32)
            else:
                output = nnx.merge(graph, *variables)(image, mask)
                prediction, blend_mask = output.image, output.blend_mask
                if config.evaluation.flip:
                    mirrored = nnx.merge(graph, *variables)(image[:, :, ::-1], mask[:, :, ::-1])
                    prediction = (prediction + mirrored.image[:, :, ::-1]) / 2
                    if blend_mask is not None:
                        blend_mask = (blend_mask + mirrored.blend_mask[:, :, ::-1]) / 2
                prediction = denormalize(prediction)
                if blend_mask is not None:
                    results["blend_mask"] = blend_mask[..., 0]
            composite, real = (batch[key].astype(prediction.dtype) for key in ("composite", "real"))
            valid = _valid(batch["extent"], *mask.shape[1:3]) if "extent" in batch else None
            model_errors = image_errors(prediction, real, mask, valid)
            composite_errors = image_errors(composite, real, mask, valid)
            if with_ssim:
                images = (jnp.clip(prediction, 0, 255), composite)
                both = ssim(images, real, counter, valid)
                model_errors["SSIM"], composite_errors["SSIM"] = both
            errors = {"foreground_ratio": foreground_ratio(mask, valid), **model_errors}
            errors |= {COMPOSITE + name: values for name, values in composite_errors.items()}
            return {"errors": errors, "prediction": prediction, **results}

        # Variables come as they are, in training perhaps divided over the mesh.
        self._measure = jax.jit(measure)

    def evaluate(
        self,
        variables: Variables | None,
        source: Source,
        *,
        shown: Collection[int] = (),
        predictions: Predictions | None = None,
    ) -> Evaluation:
        """Evaluates every sample of a source once.

        Args:
            variables: the model's.
            source: the samples.
            shown: samples whose pictures are wanted, by their number.
            predictions: of the source's samples, if there is no model.

        Raises:
            InputError: the source is empty.
        """
        if not len(source):
            raise InputError("nothing to evaluate: the set has no sample")
        data = EvaluationData(
            source,
            self._sizing,
            self._config.evaluation.batch_size,
            self._config.data.num_workers,
            predictions,
            (jax.process_index(), jax.process_count()),
        )
        records: dict[int, Record] = {}
        pictures: dict[int, Pictures] = {}
        counter = np.int32(0)
        names = PIXELS if predictions else PIXELS[:3]
        feed = Feed(_put(batch, self._mesh) for batch in data.batches)
        for number, (batch, readable) in enumerate(feed):
            results = self._measure(variables, batch, counter)
            errors, readable = _to_host((results.pop("errors"), readable))
            here = {}
            for row, index in enumerate(data.indices(number)):
                if index < 0:
                    continue
                if not readable[row]:
                    data.left_out.add(index)
                    continue
                values = {name: float(column[row]) for name, column in errors.items()}
                named = {"subset": source.subset(index), "name": source.name(index)}
                records[index] = {**named, **values}
                if index in shown:
                    here[index] = row
            if here:
                wanted = {**{name: batch[name] for name in names}, **results}
                wanted |= {key: batch[key] for key in batch if key == "extent"}
                arrays = _to_host(wanted)
                for index, row in here.items():
                    pictures[index] = _pictures({k: array[row] for k, array in arrays.items()})
        feed.close()
        close_batches(data.batches)
        order = sorted(records)
        place = {index: number for number, index in enumerate(order)}
        return Evaluation(
            [records[index] for index in order],
            [f"{_name(source, index)}: {data.reason(index)}" for index in sorted(data.left_out)],
            {place[index]: pictures[index] for index in sorted(pictures)},
        )


def spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` indices below `count`, evenly spread."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(wanted, count))})


def evaluate_workdir(
    config: ConfigDict,
    workdir: Path,
    checkpoint: Path | None = None,
    predictions: Path | None = None,
) -> Summary:
    """Evaluates a checkpoint, or ready predictions, on the config's split; writes into the workdir.

    Prints tables, and writes `evaluation.json` (`evaluation_SPLIT.json` for another split than
    test) and beside it the same as .md and .csv, the numbers of every image (`_images.csv`), a
    report with pictures (.html) and a few examples (.png). Results already there are renamed, not
    lost.

    Args:
        config: the data, and the model that the checkpoint must hold.
        workdir: where to write; also where to look for the checkpoint if none is named.
        checkpoint: as `open_checkpoint` takes.
        predictions: folder of pictures made by another program (`Predictions`); no checkpoint is
            read.

    Returns:
        The model's means.

    Raises:
        InputError: no checkpoint, a checkpoint of another model, a prediction missing; or, after
            everything else was evaluated and written, an image that cannot be read.
    """
    check_numbers(config)
    source = evaluated_source(config)
    mesh = meshes.create_mesh(config.mesh.devices, config.mesh.shards)
    variables, ready, name = None, None, None
    if predictions is not None:
        if checkpoint is not None:
            raise InputError("--predictions and --checkpoint: pass one of them")
        ready, subject = Predictions(predictions, source), str(predictions)
        evaluator = Evaluator(None, config, mesh, with_ssim=True)
    else:
        model, loaded = load_model(
            checkpoint or workdir, meshes.replicated(mesh), dtype=compute_dtype(config)
        )
        if config.model.name and loaded.metadata["model"] != model_arguments(config):
            raise InputError(
                f"{loaded.folder}: holds model {loaded.metadata['model']}, the config asks for "
                f"{model_arguments(config)}: use the config it was trained with"
            )
        evaluator = Evaluator(model, config, mesh, with_ssim=True)
        variables, subject, name = (
            split(model)[1],
            str(loaded.folder),
            loaded.metadata["model"]["name"],
        )
    _LOGGER.info("Evaluating %s on the %s set", subject, config.evaluation.split)
    examples = spread(len(source), config.evaluation.num_pictures)
    evaluation = evaluator.evaluate(variables, source, shown=examples, predictions=ready)
    if evaluation.records:
        shown = choose_shown(evaluation.records)
        pictures = _pictures_of(
            evaluator, variables, source, evaluation.records, shown, predictions
        )
        if jax.process_index() == 0:
            suffix = "" if config.evaluation.split == "test" else f"_{config.evaluation.split}"
            write_evaluation(
                evaluation, workdir, f"evaluation{suffix}", subject, name, config, shown, pictures
            )
    if evaluation.left_out:
        listed = "".join(f"\n  {text}" for text in evaluation.left_out)
        _LOGGER.warning("Left out, as they could not be read:%s", listed)
        raise InputError(
            f"{len(evaluation.left_out)} of {len(source)} images could not be read and were left "
            f"out, the first one: {evaluation.left_out[0]}"
        )
    return evaluation.model


def evaluate(
    model: HarmonizationModel | str | os.PathLike[str],
    dataset: Source | str | os.PathLike[str],
    *,
    subsets: Sequence[str] = SUBSETS,
    image_size: int = 256,
    resize: str = "square",
    longest_side: int = 1024,
    flip: bool = False,
    batch_size: int = 16,
    num_workers: int = -1,
) -> list[Record]:
    """Evaluates a model, for use in a notebook; `pandas.DataFrame(records)` takes the result.

    Args:
        model: with weights, or a path as `open_checkpoint` takes.
        dataset: samples, or the folder of iHarmony4, as downloaded or prepared, whose test list is
            taken.
        subsets: of iHarmony4.
        image_size, resize, longest_side: `evaluation` of configs/base.py, pixels.
        flip: average over the mirror image.
        batch_size: images over all devices.
        num_workers: decoding processes, -1 for one a core, 0 for threads.

    Returns:
        One record an image, in the order of the data set: `subset`, `name`, `foreground_ratio`,
        the model's `MSE`, `fMSE`, `PSNR` and `SSIM`, and the composite's, as `composite_MSE` and so
        on. `harmony_jax.metrics.summarize` gives means.

    Raises:
        InputError: an argument that cannot be, no checkpoint, or an image that cannot be read.
    """
    config = ConfigDict(
        {
            "data": {
                "name": "iharmony4",
                "root": "",
                "subsets": tuple(subsets),
                "image_size": image_size,
                "num_workers": num_workers,
                "validation_fraction": 0.0,
                "validation_seed": 0,
            },
            "evaluation": {
                "image_size": image_size,
                "resize": resize,
                "longest_side": longest_side,
                "flip": flip,
                "batch_size": batch_size,
            },
        }
    )
    if isinstance(dataset, (str, os.PathLike)):
        config.data.root = os.fspath(dataset)
        dataset = open_split(config.data, "test")
    mesh = meshes.create_mesh()
    if isinstance(model, (str, os.PathLike)):
        model, _ = load_model(Path(model), meshes.replicated(mesh))
    variables = jax.device_put(split(model)[1], meshes.replicated(mesh))
    result = Evaluator(model, config, mesh, with_ssim=True).evaluate(variables, dataset)
    if result.left_out:
        raise InputError(
            f"{len(result.left_out)} of {len(dataset)} images cannot be read, the first one: "
            f"{result.left_out[0]}"
        )
    return result.records


def evaluated_source(config: ConfigDict) -> Source:
    """The set that `evaluation.split` names.

    Raises:
        InputError: there is no such set, it is empty, or files are missing.
    """
    source = open_split(config.data, config.evaluation.split)
    if not len(source):
        raise InputError(
            f"evaluation.split {config.evaluation.split!r} is empty: set data.validation_fraction"
        )
    return source


def _pictures_of(
    evaluator: Evaluator,
    variables: Variables | None,
    source: Source,
    records: list[Record],
    shown: Iterable[int],
    predictions: Path | None,
) -> dict[int, Pictures]:
    """Pictures of some records, which are computed once more: all would not fit into memory."""
    numbers = {_name(source, index): index for index in range(len(source))}
    chosen = list(shown)
    subset = Selection(
        source, [numbers[f"{records[i]['subset']}/{records[i]['name']}"] for i in chosen]
    )
    ready = Predictions(predictions, subset) if predictions else None
    found = evaluator.evaluate(
        variables, subset, shown=range(len(chosen)), predictions=ready
    ).pictures
    return {chosen[number]: pictures for number, pictures in found.items()}


def _valid(
    extent: Int[Array, "batch 4"], height: int, width: int
) -> Float[Array, "batch height width 1"]:
    """1 inside each picture, 0 in its padding."""

    def inside(side: int, axis: int) -> Array:
        start, length = extent[:, axis, None], extent[:, axis + 2, None]
        places = jnp.arange(side)[None]
        return (places >= start) & (places < start + length)

    return (inside(height, 0)[:, :, None] & inside(width, 1)[:, None]).astype(jnp.float32)[
        ..., None
    ]


def _put(batch: dict[str, np.ndarray], mesh: Mesh) -> tuple[dict[str, jax.Array], jax.Array]:
    placed = meshes.to_devices(batch, mesh)
    readable = placed.pop("readable")
    return placed, readable


def _pictures(arrays: dict[str, np.ndarray]) -> Pictures:
    extent = arrays.pop("extent", None)
    if extent is not None:
        top, left, height, width = extent.tolist()
        arrays = {k: array[top : top + height, left : left + width] for k, array in arrays.items()}
    return Pictures(
        composite=arrays["composite"],
        mask=arrays["mask"],
        blend_mask=arrays.get("blend_mask"),
        prediction=arrays["prediction"],
        real=arrays["real"],
    )


def _name(source: Source, index: int) -> str:
    return f"{source.subset(index)}/{source.name(index)}"


def _to_host(tree):
    """Whole arrays on every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)
