"""Writes the prepared set: lists into files of records, in order, continuing where it stopped."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from harmony_jax.data.iharmony4 import SUBSETS, SampleFiles, read_list
from harmony_jax.data.prepared import (
    INFO,
    METADATA,
    NAME,
    UNFINISHED,
    VERSION,
    check_array_record,
    open_shard,
    read_info,
    shard_name,
)
from harmony_jax.data.preparing.counts import Preparation, Unreadable
from harmony_jax.data.preparing.records import features
from harmony_jax.data.preparing.workers import make_records
from harmony_jax.disk import write_file
from harmony_jax.errors import InputError

UNREADABLE_LIST = "unreadable.txt"

_RECORDS_PER_SHARD = 256  # about 40 MB, and the most that is done again after a kill
_SPLITS = ("train", "test")
_OTHER_LISTS = "holds other lists or subsets than asked for of {}: choose another --output"
_DESCRIPTION = """
iHarmony4 (Cong et al., CVPR 2020), in the order of its lists: composites, the mask of the
recoloured foreground, and the real photo as ground truth. HAdobe5k is shrunk to at most 1024
pixels a side.
"""


@dataclass
class _Shard:
    """One file of the set: the samples that belong in it, and why some cannot be."""

    path: Path
    split: str
    samples: list[SampleFiles]
    reasons: dict[int, str]  # of unreadable samples, by their index in `samples`

    def is_whole(self) -> bool:
        """Whether the file is there, with every sample of its list."""
        if not self.path.exists():
            return False
        try:
            return open_shard(self.path).num_records() == len(self.samples)
        except RuntimeError:  # not left so by this program
            return False

    def readable(self) -> list[SampleFiles]:
        return [sample for index, sample in enumerate(self.samples) if index not in self.reasons]

    def unreadable(self) -> list[Unreadable]:
        return [
            Unreadable(self.split, self.samples[index].subset, self.samples[index].name, reason)
            for index, reason in self.reasons.items()
        ]


def prepare(
    root: Path,
    output: Path,
    subsets: Sequence[str] = SUBSETS,
    *,
    workers: int = 1,
    skip_unreadable: bool = False,
) -> Preparation:
    """Makes a prepared set of the downloaded folders, or the part of it that is missing.

    Interrupted at any moment, the same call continues. Every file is decoded and checked on the
    way. If a sample is missing or damaged, `unreadable.txt` in the output says so, and the set
    stays incomplete until its files are replaced, or `skip_unreadable` leaves it out. A bar on the
    terminal shows the progress.

    Args:
        root: folder that holds the subset folders; nothing in it is changed.
        output: folder for the set.
        subsets: which subsets, in this order.
        workers: processes that read and encode; 1 for none but this one.
        skip_unreadable: leave out the samples that cannot be read.

    Raises:
        InputError: lists are missing, the output holds something else or cannot be written, or
            no sample of a list can be read.
    """
    check_array_record(output)
    if workers < 1:
        raise InputError(f"workers {workers}: choose 1 or more")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder: pass the one with {SUBSETS[0]}/")
    if not subsets or len(set(subsets)) != len(subsets):
        raise InputError(f"subsets {','.join(subsets)!r}: name one or more, each of them once")
    try:
        return _prepare(root, output, subsets, workers, skip_unreadable)
    except OSError as error:
        raise InputError(
            f"{error.filename or output}: cannot be written ({error.strerror}): make room or "
            "choose another folder; the same command continues"
        ) from error


def _prepare(
    root: Path, output: Path, subsets: Sequence[str], workers: int, skip_unreadable: bool
) -> Preparation:
    lists = {
        split: {subset: read_list(str(root), subset, split) for subset in subsets}
        for split in _SPLITS
    }
    listed = {(split, subset): len(lists[split][subset]) for split in lists for subset in subsets}
    plan = {
        "version": VERSION,
        "records_per_shard": _RECORDS_PER_SHARD,
        "lists": _digest(lists),
    }
    if output.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{output}: is inside {root}, which is left as it is: choose another")
    if (output / INFO).is_file():
        unreadable = _read_complete(root, output, plan, skip_unreadable)
        shutil.rmtree(output / UNFINISHED, ignore_errors=True)  # if killed while it removed it
        return Preparation(listed, unreadable, True)
    _begin(root, output, plan)
    shards = [shard for split in lists for shard in _shards(output, split, lists[split])]
    _write_shards(shards, output / UNFINISHED, workers)
    unreadable = [sample for shard in shards for sample in shard.unreadable()]
    if unreadable:
        write_file(output / UNREADABLE_LIST, "".join(f"{s}\n" for s in unreadable).encode())
    else:
        (output / UNREADABLE_LIST).unlink(missing_ok=True)
    if unreadable and not skip_unreadable:
        return Preparation(listed, unreadable, False)
    _finish(output, shards, unreadable, plan)
    return Preparation(listed, unreadable, True)


def _digest(lists: dict[str, dict[str, list[SampleFiles]]]) -> str:
    """Of what is listed, in its order."""
    lines = (
        f"{split}/{subset}/{sample.name}\n"
        for split, found in lists.items()
        for subset, samples in found.items()
        for sample in samples
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _shards(output: Path, split: str, lists: dict[str, list[SampleFiles]]) -> list[_Shard]:
    samples = [sample for subset in lists for sample in lists[subset]]
    starts = range(0, len(samples), _RECORDS_PER_SHARD)
    return [
        _Shard(
            output / shard_name(split, index, len(starts)),
            split,
            samples[start : start + _RECORDS_PER_SHARD],
            {},
        )
        for index, start in enumerate(starts)
    ]


def _read_complete(
    root: Path, output: Path, plan: dict[str, Any], skip_unreadable: bool
) -> list[Unreadable]:
    """What a complete set was made without; checks that it is the one asked for."""
    read_info(output)
    metadata = json.loads((output / METADATA).read_bytes())
    if metadata["lists"] != plan["lists"]:
        raise InputError(f"{output}: {_OTHER_LISTS.format(root)}")
    unreadable = [Unreadable(**sample) for sample in metadata["unreadable"]]
    if unreadable and not skip_unreadable:
        raise InputError(
            f"{output}: was prepared without {len(unreadable)} unreadable samples: remove it to "
            "prepare it anew, or accept it with --skip-unreadable"
        )
    return unreadable


def _begin(root: Path, output: Path, plan: dict[str, Any]) -> None:
    """Makes the output's folder, or checks that what is in it is this set's beginning."""
    path = output / UNFINISHED / "plan.json"
    if path.is_file():
        begun = json.loads(path.read_bytes())
        if begun["lists"] != plan["lists"]:
            raise InputError(f"{output}: {_OTHER_LISTS.format(root)}")
        if begun != plan:
            raise InputError(
                f"{output}: holds the beginning of a set of version {begun['version']}, but this "
                f"code writes {VERSION}: remove it or choose another --output"
            )
        return
    if output.exists() and (not output.is_dir() or {*os.listdir(output)} - {UNFINISHED}):
        raise InputError(f"{output}: is no folder for a prepared set: choose a new one")
    write_file(path, json.dumps(plan).encode())


def _write_shards(shards: list[_Shard], unfinished: Path, workers: int) -> None:
    """Writes the files that are not there yet or lack samples, and notes what is unreadable."""
    missing = [shard for shard in shards if not shard.is_whole()]
    samples = [sample for shard in missing for sample in shard.samples]
    total = sum(len(shard.samples) for shard in shards)
    temporary = unfinished / f"records.{os.getpid()}.tmp"
    with (
        contextlib.closing(make_records(samples, workers)) as outcomes,
        tqdm(
            desc="preparing",
            initial=total - len(samples),
            total=total,
            unit="sample",
            disable=None,  # where there is no terminal
        ) as bar,
    ):
        for shard in missing:
            _write_shard(shard, outcomes, temporary, bar)
            temporary.replace(shard.path)


def _write_shard(
    shard: _Shard, outcomes: Iterator[bytes | InputError], temporary: Path, bar: tqdm
) -> None:
    # There is none for Windows, where this module can be imported all the same.
    from array_record.python.array_record_module import ArrayRecordWriter

    try:
        # Records in groups of one: any can be read alone.
        writer = ArrayRecordWriter(str(temporary), "group_size:1")
        for index, outcome in enumerate(islice(outcomes, len(shard.samples))):
            if isinstance(outcome, bytes):
                writer.write(outcome)
            else:
                shard.reasons[index] = str(outcome)
            bar.update()
        writer.close()
    except RuntimeError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        detail = str(error).partition(";")[0]
        raise InputError(
            f"{shard.path}: cannot be written ({detail}): make room or choose another folder; "
            "the same command continues"
        ) from error


def _finish(
    output: Path, shards: list[_Shard], unreadable: list[Unreadable], plan: dict[str, Any]
) -> None:
    """Describes the set, to TFDS and to `PreparedSource`; with this it is complete."""
    splits, names = [], dict[str, dict[str, list[str]]]()
    for split in _SPLITS:
        own = [shard for shard in shards if shard.split == split]
        names[split] = {sample.subset: [] for shard in own for sample in shard.samples}
        for sample in (sample for shard in own for sample in shard.readable()):
            names[split][sample.subset].append(sample.name)
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(shard.readable()) for shard in own],
                num_bytes=sum(shard.path.stat().st_size for shard in own),
            )
        )
        if not splits[-1].num_examples:
            raise InputError(
                f"{output / UNREADABLE_LIST}: no sample of the {split} lists can be read: "
                "complete the download"
            )
    info = tfds.core.DatasetInfo(
        builder=tfds.core.dataset_info.DatasetIdentity(
            name=NAME, version=tfds.core.Version(VERSION), data_dir=str(output), module_name=""
        ),
        description=_DESCRIPTION,
        features=features(),
        disable_shuffling=True,
        metadata=tfds.core.MetadataDict(
            names=names,
            unreadable=[vars(sample) for sample in unreadable],
            lists=plan["lists"],
        ),
    )
    info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
    info.set_splits(tfds.core.splits.SplitDict(splits))
    description = output / UNFINISHED / "description"
    description.mkdir(exist_ok=True)
    info.write_to_directory(description)
    for path in sorted(description.iterdir(), key=lambda path: path.name == INFO):
        path.replace(output / path.name)
    shutil.rmtree(output / UNFINISHED)
