"""Evaluation: a checkpoint, a model or ready predictions on a data set."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

import jax
from ml_collections import ConfigDict

from harmony_jax.build import check_numbers, compute_dtype, model_arguments
from harmony_jax.data.iharmony4 import SUBSETS
from harmony_jax.data.pairs import is_pairs
from harmony_jax.data.predictions import Predictions
from harmony_jax.data.sources import Selection, Source, sample_name
from harmony_jax.data.splits import open_set, open_split
from harmony_jax.devices import failures
from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError
from harmony_jax.evaluation.evaluator import Evaluator, spread
from harmony_jax.evaluation.files import Subject, write_evaluation
from harmony_jax.evaluation.html_report import Shown, choose_shown
from harmony_jax.evaluation.metrics import ImageMetrics, Summary
from harmony_jax.evaluation.picture_sheet import Pictures
from harmony_jax.models import HarmonizationModel
from harmony_jax.variables import Variables, split
from harmony_jax.weights.released import checkpoint_path
from harmony_jax.weights.saved_model import load_model

_LOGGER = logging.getLogger(__name__)


def evaluate_workdir(
    config: ConfigDict,
    workdir: Path,
    checkpoint: str | os.PathLike[str] | None = None,
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
        checkpoint: as `checkpoint_path` takes.
        predictions: folder of pictures made by another program (`Predictions`); no checkpoint is
            read.

    Returns:
        The model's means.

    Raises:
        InputError: no checkpoint, a checkpoint of another model, a prediction missing; or, after
            everything else was evaluated and written, an image that cannot be read.
    """
    failures.end_on_sigterm()
    check_numbers(config)
    source = evaluated_source(config)
    mesh = meshes.create_mesh(config.mesh.devices, config.mesh.shards)
    variables, ready = None, None
    if predictions is not None:
        if checkpoint is not None:
            raise InputError("--predictions and --checkpoint: pass one of them")
        ready, subject = Predictions(predictions, source), Subject(str(predictions), None)
        evaluator = Evaluator(None, config, mesh, with_ssim=True)
    else:
        place = workdir if checkpoint is None else checkpoint_path(checkpoint)
        model, loaded = load_model(place, meshes.replicated(mesh), dtype=compute_dtype(config))
        if config.model.name and loaded.metadata["model"] != model_arguments(config):
            raise InputError(
                f"{loaded.folder}: holds model {loaded.metadata['model']}, the config asks for "
                f"{model_arguments(config)}: use the config it was trained with"
            )
        evaluator = Evaluator(model, config, mesh, with_ssim=True)
        variables = split(model)[1]
        subject = Subject(str(loaded.folder), loaded.metadata["model"]["name"])
    _LOGGER.info("Evaluating %s on the %s set", subject.place, config.evaluation.split)
    examples = spread(len(source), config.evaluation.num_pictures)
    evaluation = evaluator.evaluate(variables, source, shown=examples, predictions=ready)
    if evaluation.per_image:
        labels = choose_shown(evaluation.per_image)
        chosen = [evaluation.per_image[index] for index in labels]
        pictures = _pictures_of(evaluator, variables, source, chosen, predictions)
        shown = {index: Shown(labels[index], pictures[n]) for n, index in enumerate(labels)}
        if jax.process_index() == 0:
            suffix = "" if config.evaluation.split == "test" else f"_{config.evaluation.split}"
            write_evaluation(evaluation, subject, config, workdir / f"evaluation{suffix}", shown)
    if evaluation.left_out:
        listed = "".join(f"\n  {text}" for text in evaluation.left_out)
        _LOGGER.warning("Left out, as they could not be read:%s", listed)
        raise InputError(
            f"{len(evaluation.left_out)} of {len(source)} images could not be read and were left "
            f"out, the first one: {evaluation.left_out[0]}"
        )
    return evaluation.model


class EvaluationOptions(TypedDict, total=False):
    """How `evaluate` evaluates.

    Attributes:
        subsets: of iHarmony4 alone; by default all.
        image_size, resize, longest_side: `evaluation` of configs/base.py, pixels; by default 256,
            `square` and 1024.
        flip: average over the mirror image.
        batch_size: images over all devices, by default 16; rounded up to a multiple of them.
        num_workers: decoding processes, -1 (by default) for one a core, 0 for threads.
    """

    subsets: Sequence[str]
    image_size: int
    resize: str
    longest_side: int
    flip: bool
    batch_size: int
    num_workers: int


def evaluate(
    model: HarmonizationModel | str | os.PathLike[str],
    dataset: Source | str | os.PathLike[str],
    **options: Unpack[EvaluationOptions],
) -> list[ImageMetrics]:
    """Evaluates a model, for use in a notebook; `pandas.DataFrame(evaluate(...))` works.

    Args:
        model: with weights, or a path or name as `checkpoint_path` takes, such as `ready`.
        dataset: samples; or the folder of iHarmony4, as downloaded or prepared, whose test list is
            taken; or a folder or list of pairs (`harmony_jax.data.pairs`), of which all are.
        **options: `subsets`, `image_size`, `resize`, `longest_side`, `flip`, `batch_size`,
            `num_workers`: see `EvaluationOptions`.

    Returns:
        A dictionary for each image, in the order of the data set: `subset`, `name`,
        `foreground_ratio`, the model's `MSE`, `fMSE`, `PSNR` and `SSIM`, and the composite's, as
        `composite_MSE` and so on. `harmony_jax.evaluation.metrics.summarize` gives means.

    Raises:
        InputError: an argument that cannot be, no checkpoint, or an image that cannot be read.
    """
    config = _evaluation_config(options)
    if isinstance(dataset, (str, os.PathLike)):
        config.data.root = os.fspath(dataset)
        if is_pairs(dataset):
            config.data.name, config.data.test_root = "pairs", config.data.root
        dataset = open_split(config.data, "test")
    mesh = meshes.create_mesh()
    if isinstance(model, (str, os.PathLike)):
        model, _ = load_model(checkpoint_path(model), meshes.replicated(mesh))
        variables = split(model)[1]
    else:
        variables = meshes.place(split(model)[1], meshes.replicated(mesh))
    result = Evaluator(model, config, mesh, with_ssim=True).evaluate(variables, dataset)
    if result.left_out:
        raise InputError(
            f"{len(result.left_out)} of {len(dataset)} images cannot be read, the first one: "
            f"{result.left_out[0]}"
        )
    return result.per_image


def _evaluation_config(options: EvaluationOptions) -> ConfigDict:
    """The config of an evaluation with these options.

    Raises:
        TypeError: an option that there is not.
    """
    if unknown := set(options) - EvaluationOptions.__optional_keys__:
        raise TypeError(f"evaluate() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    image_size = options.get("image_size", 256)
    return ConfigDict(
        {
            "data": {
                "name": "iharmony4",
                "root": "",
                "test_root": "",
                "subsets": tuple(options.get("subsets", SUBSETS)),
                "image_size": image_size,
                "num_workers": options.get("num_workers", -1),
                "validation_fraction": 0.0,
                "validation_seed": 0,
            },
            "evaluation": {
                "image_size": image_size,
                "resize": options.get("resize", "square"),
                "longest_side": options.get("longest_side", 1024),
                "flip": options.get("flip", False),
                "batch_size": options.get("batch_size", 16),
            },
        }
    )


def evaluated_source(config: ConfigDict) -> Source:
    """The set that `evaluation.split` names.

    Raises:
        InputError: there is no such set, it is empty, or files are missing.
    """
    split = config.evaluation.split
    source = open_set(config, split)
    held_out = config.data.name == "pairs" and split == "test" and not config.data.test_root
    if not len(source):
        fields = ("data.test_root or " if held_out else "") + "data.validation_fraction"
        raise InputError(
            f"evaluation.split {split!r} is empty: set {fields} and evaluation.every_epochs as in "
            "the training"
        )
    if held_out:
        _LOGGER.warning(
            "data.test_root is not set: evaluating the %d held-out pairs, which choose the "
            "checkpoint",
            len(source),
        )
    return source


def _pictures_of(
    evaluator: Evaluator,
    variables: Variables | None,
    source: Source,
    chosen: Sequence[ImageMetrics],
    predictions: Path | None,
) -> dict[int, Pictures]:
    """Pictures of the chosen images, computed once more: those of all would fill the memory."""
    numbers = {sample_name(source, index): index for index in range(len(source))}
    subset = Selection(source, [numbers[f"{image['subset']}/{image['name']}"] for image in chosen])
    ready = Predictions(predictions, subset) if predictions else None
    found = evaluator.evaluate(variables, subset, shown=range(len(chosen)), predictions=ready)
    return found.pictures
