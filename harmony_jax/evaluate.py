"""Evaluation: every image once, the model's prediction beside the composite itself."""

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array
from ml_collections import ConfigDict

from harmony_jax import mesh as meshes
from harmony_jax.data.feed import Feed
from harmony_jax.data.photos import write_file, write_photo
from harmony_jax.data.pipeline import close_batches, evaluation_batches, open_split
from harmony_jax.data.sources import Source
from harmony_jax.errors import InputError
from harmony_jax.experiment import (
    check_numbers,
    compute_dtype,
    model_arguments,
)
from harmony_jax.metrics import ImageMetrics, Summary, foreground_ratio, image_errors, summarize
from harmony_jax.normalization import denormalize, network_inputs
from harmony_jax.report import Example, comparison_table, example_sheet
from harmony_jax.saved_model import load_model
from harmony_jax.variables import Variables, split
from harmony_jax.workdir import keep_previous

_LOGGER = logging.getLogger(__name__)


class Evaluation(NamedTuple):
    """Result over one set.

    Attributes:
        model, composite: means (`harmony_jax.metrics.summarize`) of the model's predictions, and
            of the composites taken as predictions.
        examples: a few samples spread over the set, with their pictures.
    """

    model: Summary
    composite: Summary
    examples: list[Example]


class Evaluator:
    """Compiled once, evaluates a model's variables on any set.

    Args:
        model: gives the structure.
        config: batch size, image size and number of examples.
        mesh: batches are sharded over it.

    Raises:
        InputError: the batch size does not fit the mesh.
    """

    def __init__(self, model: nnx.Module, config: ConfigDict, mesh: Mesh):
        meshes.check_batch_size("evaluation.batch_size", config.evaluation.batch_size, mesh)
        model = nnx.clone(model)
        model.eval()
        graph = nnx.graphdef(model)
        self._config = config
        self._mesh = mesh

        def predict(variables: Variables, batch: dict[str, Array]) -> dict[str, Any]:
            image, mask, _ = network_inputs(batch)
            output = nnx.merge(graph, *variables)(image, mask)
            prediction = denormalize(output.image)
            composite, real = (batch[key].astype(prediction.dtype) for key in ("composite", "real"))
            results = {
                "prediction": prediction,
                "foreground_ratio": foreground_ratio(mask),
                "model": image_errors(prediction, real, mask),
                "composite": image_errors(composite, real, mask),
            }
            return (
                results
                if output.blend_mask is None
                else (results | {"blend_mask": output.blend_mask})
            )

        # Variables come as they are, in training perhaps divided over the mesh.
        self._predict = jax.jit(predict)

    def evaluate(self, variables: Variables, source: Source) -> Evaluation:
        """Evaluates every sample of a source once.

        Raises:
            InputError: the source is empty, or one of its files is damaged.
        """
        if not len(source):
            raise InputError("nothing to evaluate: the set has no sample")
        batch_size = self._config.evaluation.batch_size
        shown = _spread(len(source), self._config.evaluation.num_pictures)
        rows: dict[str, list[ImageMetrics]] = {"model": [], "composite": []}
        examples = []
        batches = evaluation_batches(
            source,
            image_size=self._config.data.image_size,
            batch_size=batch_size,
            num_workers=self._config.data.num_workers,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        feed = Feed(meshes.to_devices(batch, self._mesh) for batch in batches)
        for number, batch in enumerate(feed):
            first = number * batch_size
            results = self._predict(variables, batch)
            pictures = {
                key: results.pop(key) for key in ("prediction", "blend_mask") if key in results
            }
            errors = _to_host(results)
            for index in range(first, min(first + batch_size, len(source))):
                for kind, metrics in rows.items():
                    metrics.append(_image_metrics(source, index, errors, kind, index - first))
            wanted = [index for index in shown if first <= index < first + batch_size]
            if wanted:
                pixels = _to_host(pictures | batch)
                examples += [
                    _example(source, index, rows, {k: v[index - first] for k, v in pixels.items()})
                    for index in wanted
                ]
        feed.close()
        close_batches(batches)
        return Evaluation(summarize(rows["model"]), summarize(rows["composite"]), examples)


def evaluate_workdir(config: ConfigDict, workdir: Path, checkpoint: Path | None = None) -> Summary:
    """Evaluates a checkpoint on the config's split and writes the result into the workdir.

    Prints a table, and writes `evaluation.json` (`evaluation_SPLIT.json` for another split than
    test) and beside it a picture of examples. Results already there are renamed, not lost.

    Args:
        config: the data, and the model that the checkpoint must hold.
        workdir: where to write; also where to look for the checkpoint if none is named.
        checkpoint: as `open_checkpoint` takes.

    Returns:
        The model's means.

    Raises:
        InputError: no checkpoint, a checkpoint of another model, or data that cannot be read.
    """
    check_numbers(config)
    source = evaluated_source(config)
    mesh = meshes.create_mesh(config.mesh.devices, config.mesh.shards)
    model, loaded = load_model(
        checkpoint or workdir, meshes.replicated(mesh), dtype=compute_dtype(config)
    )
    if config.model.name and loaded.metadata["model"] != model_arguments(config):
        raise InputError(
            f"{loaded.folder}: holds model {loaded.metadata['model']}, the config asks for "
            f"{model_arguments(config)}: use the config it was trained with"
        )
    model.check_image_size(config.data.image_size, config.data.image_size)
    _LOGGER.info("Evaluating %s on the %s set", loaded.folder, config.evaluation.split)
    evaluation = Evaluator(model, config, mesh).evaluate(split(model)[1], source)
    if jax.process_index() == 0:
        suffix = "" if config.evaluation.split == "test" else f"_{config.evaluation.split}"
        _write(evaluation, workdir, f"evaluation{suffix}")
    return evaluation.model


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


def _write(evaluation: Evaluation, workdir: Path, stem: str) -> None:
    target, picture = workdir / f"{stem}.json", workdir / f"{stem}.png"
    for path in (target, picture):
        if kept := keep_previous(path):
            _LOGGER.info("%s was there already: kept as %s", path, kept)
    result = {"model": evaluation.model, "composite": evaluation.composite}
    write_file(target, (json.dumps(result, indent=1) + "\n").encode())
    written = str(target)
    if evaluation.examples:
        write_photo(picture, example_sheet(evaluation.examples))
        written += f" and {picture}"
    print(f"{comparison_table(evaluation.model, evaluation.composite)}\nWritten: {written}")


def _image_metrics(source: Source, index: int, errors: dict, kind: str, row: int) -> ImageMetrics:
    return ImageMetrics(
        subset=source.subset(index),
        name=source.name(index),
        foreground_ratio=float(errors["foreground_ratio"][row]),
        MSE=float(errors[kind]["MSE"][row]),
        fMSE=float(errors[kind]["fMSE"][row]),
        PSNR=float(errors[kind]["PSNR"][row]),
    )


def _example(
    source: Source, index: int, rows: dict[str, list[ImageMetrics]], pixels: dict[str, np.ndarray]
) -> Example:
    return Example(
        title=f"{source.subset(index)} {source.name(index)}",
        composite=pixels["composite"],
        mask=pixels["mask"],
        blend_mask=pixels["blend_mask"][..., 0] if "blend_mask" in pixels else None,
        prediction=pixels["prediction"],
        real=pixels["real"],
        composite_mse=rows["composite"][index]["MSE"],
        model_mse=rows["model"][index]["MSE"],
    )


def _spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` indices below `count`, evenly spread."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(wanted, count))})


def _to_host(tree):
    """Whole arrays on every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)
