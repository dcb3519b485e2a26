"""iHarmony4 as `scripts/prepare_iharmony4.py` packs it: records in a few hundred files."""

import importlib.util
import json
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from harmony_jax.data.iharmony4 import NAME as IHARMONY4
from harmony_jax.data.iharmony4 import SUBSETS, check_root_and_split, decode_sample, photo_of
from harmony_jax.data.sources import Sample, Source
from harmony_jax.errors import InputError

NAME = "iharmony4"
VERSION = "1.0.0"  # sets whose version begins with another number cannot be read

INFO = "dataset_info.json"  # written last, so a set with this file is complete
METADATA = "metadata.json"
UNFINISHED = "unfinished"  # folder of what is only needed while a set is prepared

_COMMAND = "scripts/prepare_iharmony4.py"


def is_prepared(root: str) -> bool:
    """Whether a folder holds a prepared set, complete or not."""
    return bool(root) and ((Path(root) / INFO).is_file() or (Path(root) / UNFINISHED).is_dir())


class PreparedSource(Source):
    """Random access to the decoded samples of a prepared set, in the order of the list files.

    Each sample has the index, name, subset, photo and pixels that it has in `IHarmony4Source`,
    except for the pixels of HAdobe5k, which were shrunk.
    """

    published = IHARMONY4

    def __init__(self, root: str, split: str, subsets: Sequence[str] = SUBSETS):
        check_root_and_split(root, split)
        check_array_record(root)
        # While TFDS is imported it replaces the import function of the whole process, which breaks
        # imports in other threads, such as the one that writes checkpoints. So import it now.
        import tensorflow_datasets.proto  # noqa: F401

        folder = self._folder = Path(root)
        shards = {found["name"]: found["shardLengths"] for found in read_info(folder)["splits"]}
        lengths = self._lengths = [int(length) for length in shards[split]]
        self._shards = [
            folder / shard_name(split, index, len(lengths)) for index in range(len(lengths))
        ]
        self._starts = [0, *accumulate(lengths)]
        present = set(os.listdir(folder))
        missing = [path for path in self._shards if path.name not in present]
        if missing:
            raise InputError(
                f"{missing[0]}: not found ({len(missing)} of {len(lengths)} files of the prepared "
                f"set are missing): {_again(folder)}"
            )
        self._samples = _select(folder, split, subsets, sum(lengths))
        self._readers: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """Decodes one sample; raises InputError if the file that holds it is damaged."""
        position, subset, name = self._samples[index]
        shard = bisect_right(self._starts, position) - 1
        record = self._read(shard, position - self._starts[shard])
        found = f"{record['subset'].decode()}/{record['name'].decode()}"
        if found != f"{subset}/{name}":
            raise InputError(
                f"{self._shards[shard]}: holds {found} in the place of {subset}/{name}: "
                f"{_again(self._folder)}"
            )
        composite, real, mask = (
            (f"{self._shards[shard]}: {key} of {found}", record[key])
            for key in ("composite", "real", "mask")
        )
        return decode_sample(composite, real, mask)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}  # a worker process opens the files itself

    def subset(self, index: int) -> str:
        return self._samples[index][1]

    def name(self, index: int) -> str:
        return self._samples[index][2]

    def photo(self, index: int) -> str:
        _, subset, name = self._samples[index]
        return photo_of(subset, name)

    def _read(self, shard: int, position: int) -> dict[str, bytes]:
        """A record's features."""
        path = self._shards[shard]
        try:
            if shard not in self._readers:
                # If another thread does the same, one reader is kept and the other one closes.
                self._readers.setdefault(shard, open_shard(path))
            reader = self._readers[shard]
            if reader.num_records() == self._lengths[shard]:
                return parse_record(reader.read([position])[0])
            detail = f"{reader.num_records()} records, expected {self._lengths[shard]}"
        except (RuntimeError, ValueError) as error:
            detail = str(error).partition(";")[0]
        raise InputError(f"{path}: damaged ({detail}): {_again(self._folder)}")


def parse_record(data: bytes) -> dict[str, bytes]:
    """The encoded features of a record, a serialized `tf.train.Example`; ValueError for others."""
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        found = tf_example_pb2.Example.FromString(data).features.feature
        return {key: found[key].bytes_list.value[0] for key in found}
    except (DecodeError, IndexError) as error:
        raise ValueError("a record cannot be parsed") from error


def check_array_record(folder: str | os.PathLike[str]) -> None:
    """Raises InputError if array_record is missing, which does not exist for Windows."""
    if importlib.util.find_spec("array_record") is None:
        raise InputError(
            f"{folder}: prepared sets need array_record, which is not installed (there is none for "
            "Windows): use the downloaded folders as they are"
        )


def shard_name(split: str, index: int, count: int) -> str:
    """The file name that TFDS expects."""
    return f"{NAME}-{split}.array_record-{index:05d}-of-{count:05d}"


def open_shard(path: Path) -> Any:
    """An `ArrayRecordReader` for reads in any order; RuntimeError if the file is damaged."""
    from array_record.python.array_record_module import ArrayRecordReader  # not on Windows

    return ArrayRecordReader(
        str(path), options="readahead_buffer_size:0", file_reader_buffer_size=1 << 15
    )


def read_info(folder: Path) -> dict[str, Any]:
    """Reads `dataset_info.json` of a complete prepared set of this version."""
    if not (folder / INFO).is_file():
        raise InputError(
            f"{folder}: the prepared set is incomplete: run {_COMMAND} again, and it continues"
        )
    info = _read_json(folder / INFO)
    name, version = info.get("name"), str(info.get("version"))
    if name != NAME:
        raise InputError(
            f"{folder}: a prepared data set named {name!r}, expected {NAME!r}: choose an output of "
            f"{_COMMAND}"
        )
    if version.split(".")[0] != VERSION.split(".")[0]:
        raise InputError(
            f"{folder}: a prepared set of version {version}, but this code reads {VERSION}: run "
            f"{_COMMAND} with another output"
        )
    return info


def _select(
    folder: Path, split: str, subsets: Sequence[str], records: int
) -> list[tuple[int, str, str]]:
    """(position among all records, subset, name) of the samples of some subsets."""
    names: dict[str, list[str]] = _read_json(folder / METADATA)["names"][split]
    starts = [0, *accumulate(map(len, names.values()))]
    if starts[-1] != records:
        raise InputError(
            f"{folder / METADATA}: {starts[-1]} names, but {INFO} has {records} records: "
            f"{_again(folder)}"
        )
    for subset in subsets:
        if subset not in names:
            raise InputError(
                f"{folder}: prepared with {', '.join(names)}, without {subset}: leave it out of "
                f"data.subsets, or run {_COMMAND} with another output"
            )
    start_of = dict(zip(names, starts, strict=False))
    return [
        (position, subset, name)
        for subset in subsets
        for position, name in enumerate(names[subset], start_of[subset])
    ]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}): {_again(path.parent)}") from error


def _again(folder: Path) -> str:
    return f"remove {folder} and run {_COMMAND} again"
