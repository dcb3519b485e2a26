"""Writes a prepared set: the lists in files of records, in order, continuing where it stopped."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from tqdm import tqdm

from harmony_jax.data.iharmony4 import SUBSETS, SampleFiles, located, read_list
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
from harmony_jax.data.preparing.records import features, make_record
from harmony_jax.data.preparing.report import (
    UNREADABLE_LIST,
    Preparation,
    Unreadable,
    cannot_be_written,
    list_unreadable,
    writing,
)
from harmony_jax.data.worker_processes import made_of
from harmony_jax.disk import write_file
from harmony_jax.errors import InputError

_RECORDS_PER_SHARD = 256  # about 40 MB; a kill costs one file of each process at most
_SPLITS = ("train", "test")
_DESCRIPTION = """
iHarmony4 (Cong et al., CVPR 2020), in the order of its lists: composites, the mask of the
recoloured foreground, and the real photo as ground truth. HAdobe5k is shrunk to at most 1024
pixels a side.
"""


class _Shard(NamedTuple):
    """One file of the set, and the samples that belong in it."""

    path: Path
    split: str
    samples: list[SampleFiles]

    def is_whole(self) -> bool:
        """Whether the file is there, with every sample of its list."""
        try:
            return self.path.exists() and open_shard(self.path).num_records() == len(self.samples)
        except RuntimeError:  # damaged later; files are renamed when they are complete
            return False


def prepare(
    root: Path,
    output: Path,
    subsets: Sequence[str] = SUBSETS,
    *,
    workers: int = 1,
    skip_unreadable: bool = False,
) -> Preparation:
    """Makes a prepared set of the downloaded folders, or the part of it that is missing.

    Interrupted at any moment, the same call continues. Every file is decoded and checked. If a
    sample is missing or damaged, `unreadable.txt` in the output names it, and the set stays
    incomplete until its files are replaced, or `skip_unreadable` leaves it out. A bar on the
    terminal shows the progress.

    Nothing in the root, which holds the subsets' folders, is changed. With 1 worker this process
    alone reads and encodes.
    """
    check_array_record(output)
    if workers < 1:
        raise InputError(f"workers {workers}: choose 1 or more")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder: pass the one with {SUBSETS[0]}/")
    if not subsets or len(set(subsets)) != len(subsets):
        raise InputError(f"subsets {','.join(subsets)!r}: name one or more, each of them once")
    if output.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{output}: is inside {root}, which must not change: choose another")
    lists = {
        split: {subset: located(read_list(str(root), subset, split))[0] for subset in subsets}
        for split in _SPLITS
    }
    listed = {(split, subset): len(lists[split][subset]) for split in lists for subset in subsets}
    plan = {
        "version": VERSION,
        "records_per_shard": _RECORDS_PER_SHARD,
        "lists": _digest(lists),
    }
    with writing(output):
        if (output / INFO).is_file():
            unreadable = _read_complete(output, plan, skip_unreadable)
            shutil.rmtree(output / UNFINISHED, ignore_errors=True)  # left by a kill in `_finish`
            return Preparation(listed, unreadable, complete=True)
        _begin(output, plan)
        shards = [shard for split in lists for shard in _shards(output, split, lists[split])]
        unreadable = _write_shards(shards, workers)
        list_unreadable(output, unreadable)
        complete = skip_unreadable or not unreadable
        if complete:
            _finish(output, shards, unreadable, plan)
        return Preparation(listed, unreadable, complete)


def _digest(lists: dict[str, dict[str, list[SampleFiles]]]) -> str:
    """Hash of the listed names in their order."""
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
        )
        for index, start in enumerate(starts)
    ]


def _read_complete(output: Path, plan: dict[str, Any], skip_unreadable: bool) -> list[Unreadable]:
    """The samples that a complete set lacks, after a check that it is the wanted set."""
    read_info(output)
    metadata = json.loads((output / METADATA).read_bytes())
    if metadata["lists"] != plan["lists"]:
        raise _another_set(output)
    unreadable = [Unreadable(**sample) for sample in metadata["unreadable"]]
    if unreadable and not skip_unreadable:
        raise InputError(
            f"{output}: was prepared without {len(unreadable)} unreadable samples: remove it to "
            "prepare it anew, or accept it by skipping unreadable samples"
        )
    return unreadable


def _begin(output: Path, plan: dict[str, Any]) -> None:
    """Makes the output's folder, or checks that it holds the beginning of this set."""
    path = output / UNFINISHED / "plan.json"
    if path.is_file():
        if json.loads(path.read_bytes()) != plan:
            raise _another_set(output)
    elif output.exists() and (not output.is_dir() or {*os.listdir(output)} - {UNFINISHED}):
        raise InputError(f"{output}: is no folder for a prepared set: choose a new one")
    else:
        write_file(path, json.dumps(plan).encode())


def _another_set(output: Path) -> InputError:
    return InputError(
        f"{output}: holds a set of other lists or subsets, or of another version: choose another "
        "output"
    )


def _write_shards(shards: list[_Shard], workers: int) -> list[Unreadable]:
    """Writes the files that are missing or lack samples; returns the unreadable samples."""
    missing = [shard for shard in shards if not shard.is_whole()]
    total, left = (sum(len(shard.samples) for shard in some) for some in (shards, missing))
    unreadable: list[Unreadable] = []
    with tqdm(
        desc="preparing", initial=total - left, total=total, unit="sample", disable=None
    ) as bar:
        for shard, failed in zip(missing, made_of(missing, _write_shard, workers), strict=True):
            unreadable += failed
            bar.update(len(shard.samples))
    return unreadable


def _write_shard(shard: _Shard) -> list[Unreadable]:
    """Writes one file, under a temporary name until it is complete."""
    # Not available on Windows, where this module can be imported all the same.
    from array_record.python.array_record_module import ArrayRecordWriter

    unreadable: list[Unreadable] = []
    temporary = shard.path.parent / UNFINISHED / f"records.{os.getpid()}.tmp"
    try:
        # Groups of one record, so that each can be read alone.
        writer = ArrayRecordWriter(str(temporary), "group_size:1")
        for sample in shard.samples:
            try:
                record = make_record(sample)
            except InputError as error:
                unreadable.append(Unreadable(shard.split, sample.subset, sample.name, str(error)))
            else:
                writer.write(record)
        writer.close()
    except RuntimeError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_be_written(shard.path, str(error).partition(";")[0]) from error
    temporary.replace(shard.path)
    return unreadable


def _finish(
    output: Path, shards: list[_Shard], unreadable: list[Unreadable], plan: dict[str, Any]
) -> None:
    """Describes the set for TFDS and `PreparedSource`, which completes it."""
    lost = {(sample.split, sample.subset, sample.name) for sample in unreadable}
    splits, names = [], dict[str, dict[str, list[str]]]()
    for split in _SPLITS:
        own = [shard for shard in shards if shard.split == split]
        names[split] = {sample.subset: [] for shard in own for sample in shard.samples}
        lengths = []
        for shard in own:
            kept = [s for s in shard.samples if (split, s.subset, s.name) not in lost]
            lengths.append(len(kept))
            for sample in kept:
                names[split][sample.subset].append(sample.name)
        if not sum(lengths):
            raise InputError(
                f"{output / UNREADABLE_LIST}: no sample of the {split} lists can be read: "
                "complete the download"
            )
        size = sum(shard.path.stat().st_size for shard in own)
        splits.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size))
    info = tfds.core.DatasetInfo(
        builder=tfds.core.dataset_info.DatasetIdentity(
            name=NAME, version=tfds.core.Version(VERSION), data_dir=str(output), module_name=""
        ),
        description=_DESCRIPTION,
        features=features(),
        disable_shuffling=True,
        metadata=tfds.core.MetadataDict(
            names=names,
            unreadable=[sample._asdict() for sample in unreadable],
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
