"""iHarmony4 as `scripts/prepare_iharmony4.py` leaves it: records in a few hundred files."""

import importlib.util
import json
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from harmony_jax.data.iharmony4 import (
    SUBSETS,
    check_root_and_split,
    decode_sample,
    photo_of,
)
from harmony_jax.data.sources import Sample, Source
from harmony_jax.errors import InputError

NAME = "iharmony4"
VERSION = "1.0.0"  # a set of another first number cannot be read

INFO = "dataset_info.json"  # written last: with it, a set is complete
METADATA = "metadata.json"
UNFINISHED = "unfinished"  # folder for what a set needs only while it is prepared

_COMMAND = "scripts/prepare_iharmony4.py"


def is_prepared(root: str) -> bool:
    """Whether a folder holds a prepared set, complete or not."""
    return bool(root) and ((Path(root) / INFO).is_file() or (Path(root) / UNFINISHED).is_dir())


class PreparedSource(Source):
    """Random access to the decoded samples of a prepared set, in the order of the list files.

    Index, name, subset and photo of every sample are those of `IHarmony4Source`, and so are the
    pixels, except where HAdobe5k was shrunk.

    Args:
        root: folder of the prepared set.
        split: "train" or "test".
        subsets: which subsets, in this order.

    Raises:
        InputError: the set is incomplete, of another version, lacks a subset or one of its files;
            or this is Windows.
    """

    def __init__(self, root: str, split: str, subsets: Sequence[str] = SUBSETS):
        check_root_and_split(root, split)
        check_array_record(root)
        self._folder = Path(root)
        lengths = _shard_lengths(read_info(self._folder), split)
        self._shards = [
            self._folder / shard_name(split, index, len(lengths)) for index in range(len(lengths))
        ]
        self._lengths = lengths
        self._starts = [0, *accumulate(lengths)]
        present = set(os.listdir(self._folder))
        missing = [path for path in self._shards if path.name not in present]
        if missing:
            raise InputError(
                f"{missing[0]}: not found ({len(missing)} of {len(lengths)} files of the prepared "
                f"set are missing): {_again(self._folder)}"
            )
        # Position in the files, subset and name.
        self._samples = _select(
            self._folder, _read_json(self._folder / METADATA)["names"][split], subsets, lengths
        )
        self._readers: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """Decodes one sample.

        Raises:
            InputError: the file that holds it is damaged.
        """
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
        # A worker process opens files of its own.
        return {**self.__dict__, "_readers": {}}

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
                # Another thread may do the same; one reader is kept, the other one closes.
                self._readers.setdefault(shard, open_shard(path))
            reader = self._readers[shard]
            if reader.num_records() == self._lengths[shard]:
                return parse_record(reader.read([position])[0])
            detail = f"{reader.num_records()} records, expected {self._lengths[shard]}"
        except (RuntimeError, ValueError) as error:
            detail = str(error).partition(";")[0]
        raise InputError(f"{path}: damaged ({detail}): {_again(self._folder)}")


def parse_record(data: bytes) -> dict[str, bytes]:
    """The encoded features of a record, a serialized `tf.train.Example`, by name.

    Raises:
        ValueError: it is no such example, or one of its features is no byte string.
    """
    # Here, as only prepared sets need it, and TFDS takes its time to load.
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        found = tf_example_pb2.Example.FromString(data).features.feature
        return {key: found[key].bytes_list.value[0] for key in found}
    except (DecodeError, IndexError) as error:
        raise ValueError("a record cannot be parsed") from error


def check_array_record(folder: str | os.PathLike[str]) -> None:
    """Raises InputError where there is no array_record, which is not to be had for Windows."""
    if importlib.util.find_spec("array_record") is None:
        raise InputError(
            f"{folder}: prepared sets need array_record, which is not installed (there is none for "
            "Windows): use the downloaded folders as they are"
        )


def shard_name(split: str, index: int, count: int) -> str:
    """The file's name, as TFDS has it."""
    return f"{NAME}-{split}.array_record-{index:05d}-of-{count:05d}"


def open_shard(path: Path) -> Any:
    """Opens a file of records for reads in any order, as an `ArrayRecordReader`.

    Raises:
        RuntimeError: the file is missing or damaged, as far as this shows before records are read.
    """
    # There is none for Windows, where all else is to work.
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(
        str(path), options="readahead_buffer_size:0", file_reader_buffer_size=1 << 15
    )


def read_info(folder: Path) -> dict[str, Any]:
    """Reads `dataset_info.json` of a complete prepared set.

    Raises:
        InputError: the set is incomplete, another one, or of a version that cannot be read.
    """
    if not (folder / INFO).is_file():
        raise InputError(
            f"{folder}: the prepared set is incomplete: run {_COMMAND} with --output={folder} "
            "again, and it continues"
        )
    info = _read_json(folder / INFO)
    name, version = info.get("name"), str(info.get("version"))
    if name != NAME:
        raise InputError(
            f"{folder}: a prepared data set named {name!r}, expected {NAME!r}: pass the output of "
            f"{_COMMAND}"
        )
    if version.split(".")[0] != VERSION.split(".")[0]:
        raise InputError(
            f"{folder}: a prepared set of version {version}, but this code reads {VERSION}: run "
            f"{_COMMAND} with another --output"
        )
    return info


def _shard_lengths(info: dict[str, Any], split: str) -> list[int]:
    """The number of records in each file of a split."""
    lengths = {found["name"]: found["shardLengths"] for found in info["splits"]}
    return [int(length) for length in lengths[split]]


def _select(
    folder: Path, names: dict[str, list[str]], subsets: Sequence[str], lengths: Sequence[int]
) -> list[tuple[int, str, str]]:
    """(position, subset, name) of the samples of some subsets; the set has all of `names`."""
    count = sum(len(found) for found in names.values())
    if count != sum(lengths):
        raise InputError(
            f"{folder / METADATA}: {count} names, but {INFO} has {sum(lengths)} records: "
            f"{_again(folder)}"
        )
    starts = dict(zip(names, accumulate(map(len, names.values()), initial=0), strict=False))
    for subset in subsets:
        if subset not in SUBSETS:
            raise InputError(f"subset {subset!r}: iHarmony4 has {', '.join(SUBSETS)}")
        if subset not in names:
            raise InputError(
                f"{folder}: prepared with {', '.join(names)}, without {subset}: leave it out of "
                f"data.subsets, or run {_COMMAND} with another --output"
            )
    return [
        (position, subset, name)
        for subset in subsets
        for position, name in enumerate(names[subset], starts[subset])
    ]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}): {_again(path.parent)}") from error


def _again(folder: Path) -> str:
    return f"remove {folder} and run {_COMMAND} again"
