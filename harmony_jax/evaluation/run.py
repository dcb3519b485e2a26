"""Evaluation: a checkpoint, a model or another program's predictions on a data set."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from harmony_jax.build import compute_dtype, model_arguments
from harmony_jax.config_ranges import check_config
from harmony_jax.data.iharmony4 import SUBSETS
from harmony_jax.data.predictions import Predictions
from harmony_jax.data.sources import Selection, Source, sample_name
from harmony_jax.data.splits import lacks_test_set, open_path, open_set
from harmony_jax.devices import failures
from harmony_jax.devices import mesh as meshes
from harmony_jax.devices.host_limits import raise_file_limit
from harmony_jax.errors import InputError
from harmony_jax.evaluation.evaluator import Evaluation, Evaluator, spread
from harmony_jax.evaluation.files import write_evaluation
from harmony_jax.evaluation.html_report import Shown, choose_shown
from harmony_jax.evaluation.metrics import ImageMetrics, Summary
from harmony_jax.models import HarmonizationModel
from harmony_jax.variables import split
from harmony_jax.weights.released import checkpoint_path
from harmony_jax.weights.saved_model import load_model

_LOGGER = logging.getLogger(__name__)


def evaluate_workdir(
    config: ConfigDict,
    workdir: Path,
    checkpoint: str | os.PathLike[str] | None = None,
    predictions: Path | None = None,
) -> Summary:
    """Evaluates a checkpoint, or another program's predictions, and writes into the workdir.

    Prints tables, and writes `evaluation.json` (`evaluation_SPLIT.json` for another split than
    test) and beside it the same as .md and .csv, the numbers of every image (`_images.csv`), a
    report with pictures (.html) and a few examples (.png). Earlier results are renamed, not lost.

    Args:
        config: the data, and the model that the checkpoint must hold.
        workdir: where to write; also where to look for the checkpoint if none is named.
        checkpoint: as `checkpoint_path` takes.
        predictions: folder of pictures (`Predictions`) to evaluate instead of a checkpoint.

    Returns:
        The model's means.

    Raises:
        InputError: bad input; an image that cannot be read is reported at the end, after all others
            were evaluated and written.
    """
    failures.end_on_sigterm()
    raise_file_limit()
    check_config(config)
    config = config.copy_and_resolve_references()
    source = evaluated_source(config)
    mesh = meshes.create_mesh(config.mesh.devices, config.mesh.shards)
    model, name, variables, ready = None, None, None, None
    if predictions is not None:
        if checkpoint is not None:
            raise InputError("predictions and a checkpoint: pass one of them")
        ready, evaluated = Predictions(predictions, source), str(predictions)
        config.evaluation.image_size = config.evaluation.image_size or config.data.image_size
    else:
        place = workdir if checkpoint is None else checkpoint_path(checkpoint)
        model, loaded = load_model(place, meshes.replicated(mesh), dtype=compute_dtype(config))
        if config.model.name and loaded.metadata["model"] != model_arguments(config):
            raise InputError(
                f"{loaded.folder}: holds model {loaded.metadata['model']}, the config asks for "
                f"{model_arguments(config)}: use the config it was trained with"
            )
        _take_size(config, loaded.metadata["image_size"])
        variables = split(model)[1]
        evaluated, name = str(loaded.folder), loaded.metadata["model"]["name"]
    evaluator = Evaluator(model, config, mesh, with_ssim=True)
    _LOGGER.info("Evaluating %s on the %s set", evaluated, config.evaluation.split)
    examples = spread(len(source), config.evaluation.num_pictures)
    evaluation = evaluator.evaluate(variables, source, shown=examples, predictions=ready)
    if evaluation.per_image:
        # Their pictures are computed once more: those of all images would fill the memory.
        labels = choose_shown(evaluation.per_image)
        numbers = {sample_name(source, index): index for index in range(len(source))}
        images = [evaluation.per_image[index] for index in labels]
        chosen = Selection(source, [numbers[f"{i['subset']}/{i['name']}"] for i in images])
        ready = Predictions(predictions, chosen) if predictions else None
        again = evaluator.evaluate(
            variables, chosen, shown=range(len(chosen)), predictions=ready
        ).pictures
        shown = {index: Shown(labels[index], again[n]) for n, index in enumerate(labels)}
        if jax.process_index() == 0:
            suffix = "" if config.evaluation.split == "test" else f"_{config.evaluation.split}"
            target = workdir / f"evaluation{suffix}"
            write_evaluation(evaluation, evaluated, name, config, target, shown)
    if evaluation.left_out:
        listed = "".join(f"\n  {text}" for text in evaluation.left_out)
        _LOGGER.warning("Left out, because they could not be read:%s", listed)
    _check_nothing_left_out(evaluation, source)
    return evaluation.model


def evaluate(  # noqa: PLR0913  # options by keyword, which a notebook completes
    model: HarmonizationModel | str | os.PathLike[str],
    dataset: Source | str | os.PathLike[str],
    *,
    subsets: Sequence[str] = SUBSETS,
    image_size: int = 0,
    resize: str = "square",
    longest_side: int = 1024,
    flip: bool = False,
    batch_size: int = 16,
    num_workers: int = -1,
) -> list[ImageMetrics]:
    """Evaluates a model, for use in a notebook; `pandas.DataFrame(evaluate(...))` works.

    Args:
        model: with weights, or a path or name as `checkpoint_path` takes, such as `ready`.
        dataset: samples; or the folder of iHarmony4, as downloaded or prepared (its test list); or
            a folder or list of pairs (`harmony_jax.data.pairs`; all of them).
        subsets: of iHarmony4.
        image_size: pixels a side; 0: those the model was trained at, or 256 where that is unknown.
        resize, longest_side, flip: as in the `evaluation` section of configs/base.py.
        batch_size: images over all devices; rounded up to a multiple of them.
        num_workers: decoding processes, -1 for one a core, 0 for threads.

    Returns:
        A dictionary for each image, in the order of the data set: `subset`, `name`,
        `foreground_ratio`, the model's `MSE`, `fMSE`, `PSNR` and `SSIM`, and the composite's, as
        `composite_MSE` and so on. `harmony_jax.evaluation.metrics.summarize` gives means.
    """
    config = ConfigDict({"data": {"image_size": 256, "num_workers": num_workers}})
    sizes = {"image_size": image_size, "resize": resize, "longest_side": longest_side}
    config.evaluation = ConfigDict({**sizes, "flip": flip, "batch_size": batch_size})
    check_config(config)
    if isinstance(dataset, (str, os.PathLike)):
        dataset = open_path(os.fspath(dataset), subsets)
    mesh = meshes.create_mesh()
    if isinstance(model, (str, os.PathLike)):
        model, loaded = load_model(checkpoint_path(model), meshes.replicated(mesh))
        _take_size(config, loaded.metadata["image_size"])
        variables = split(model)[1]
    else:
        variables = meshes.place(split(model)[1], meshes.replicated(mesh))
    result = Evaluator(model, config, mesh, with_ssim=True).evaluate(variables, dataset)
    _check_nothing_left_out(result, dataset)
    return result.per_image


def _take_size(config: ConfigDict, trained: int) -> None:
    """Sets the size to the one that a model was trained at, unless the config names another."""
    evaluation = config.evaluation
    if not evaluation.image_size:
        evaluation.image_size = trained
        if trained != config.data.image_size:
            _LOGGER.warning(
                "Evaluated at the model's %d pixels, not at data.image_size %d: set "
                "evaluation.image_size for another size",
                *(trained, config.data.image_size),
            )
    elif evaluation.image_size != trained:
        _LOGGER.warning(
            "The model was trained at %d pixels, and is evaluated at %d",
            *(trained, evaluation.image_size),
        )
    if evaluation.resize != "square":
        _LOGGER.warning(
            "The model was trained at %d x %d pixels alone: at other sizes it may be far worse",
            *(trained, trained),
        )


def evaluated_source(config: ConfigDict) -> Source:
    """The set that `evaluation.split` names; an empty one is an error."""
    split = config.evaluation.split
    source = open_set(config, split)
    held_out = split == "test" and lacks_test_set(config.data)
    if not len(source):
        fields = ("data.test_root or " if held_out else "") + "data.validation_fraction"
        raise InputError(
            f"evaluation.split {split!r} is empty: set {fields} and evaluation.every_epochs as in "
            "the training"
        )
    if held_out:
        _LOGGER.warning(
            "data.test_root is not set: evaluating the %d held-out samples, which choose the "
            "checkpoint",
            len(source),
        )
    return source


def _check_nothing_left_out(evaluation: Evaluation, source: Source) -> None:
    if evaluation.left_out:
        raise InputError(
            f"{len(evaluation.left_out)} of {len(source)} images could not be read and were left "
            f"out, the first one: {evaluation.left_out[0]}"
        )
