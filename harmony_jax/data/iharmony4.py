"""Composites in files: iHarmony4 as downloaded, four folders with list files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harmony_jax.data.codecs import Pixels, decode_mask, decode_photo
from harmony_jax.data.lists import read_lines, with_slashes
from harmony_jax.data.sources import Sample, Source
from harmony_jax.disk import Present, read_file
from harmony_jax.errors import InputError

NAME = "iHarmony4"
SUBSETS = ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night")

# Composites in each list as published: 65,742 and 7,404.
PUBLISHED = {
    "train": {"HCOCO": 38545, "HAdobe5k": 19437, "HFlickr": 7449, "Hday2night": 311},
    "test": {"HCOCO": 4283, "HAdobe5k": 2160, "HFlickr": 828, "Hday2night": 133},
}
COMPOSITES = sum(PUBLISHED["train"].values())  # 65,742, to train on


@dataclass(frozen=True)
class SampleFiles:
    """Where one sample lies; several composites may share a real photo and a mask."""

    subset: str
    name: str
    photo: str
    composite: Path
    real: Path
    mask: Path


class FilesSource(Source):
    """Random access to decoded samples, each in three files; messages name them by `lists`."""

    def __init__(self, files: Sequence[SampleFiles], lists: str):
        self.files, missing = located(files)
        if missing:
            kind, path = missing[0]
            raise InputError(
                f"{path}: {kind} not found ({len(missing)} of {3 * len(files)} files of the "
                f"samples in {lists} are missing): add what is missing"
            )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        files = self.files[index]
        composite, real, mask = (
            (str(path), read_file(path)) for path in (files.composite, files.real, files.mask)
        )
        return decode_sample(composite, real, mask)

    def subset(self, index: int) -> str:
        return self.files[index].subset

    def name(self, index: int) -> str:
        return self.files[index].name

    def photo(self, index: int) -> str:
        return self.files[index].photo


class IHarmony4Source(FilesSource):
    """The samples of iHarmony4, in the order of the list files.

    Composite `a_b_c.jpg`, real photo `a.jpg`, mask `a_b.png`; `<subset>_train.txt` and
    `<subset>_test.txt` in the folders of the subsets list the composites.
    """

    published = NAME

    def __init__(self, root: str, split: str, subsets: Sequence[str] = SUBSETS):
        check_root_and_split(root, split)
        files = [sample for subset in subsets for sample in read_list(root, subset, split)]
        super().__init__(files, " and ".join(f"{subset}_{split}.txt" for subset in subsets))

    @classmethod
    def samples_to_train(cls, subsets: Sequence[str]) -> int:
        published = PUBLISHED["train"]
        if unknown := [name for name in subsets if name not in published]:
            raise InputError(f"data.subsets {unknown[0]!r}: choose of {', '.join(published)}")
        return sum(published[name] for name in subsets)


def photo_of(subset: str, name: str) -> str:
    """Identifies the real photo of composite `name`, which several composites may share."""
    return f"{subset}/{name.split('_')[0]}.jpg"


def scene_of(photo: str) -> str:
    """What a photo (of `photo_of`) shows: several of Hday2night are one place at several times.

    `d21901-20130410-181833.jpg` is of the scene d21901; in the other subsets each photo is a scene.
    """
    subset, _, name = photo.partition("/")
    return f"{subset}/{name.partition('-')[0]}" if subset == "Hday2night" else photo


def located(
    files: Sequence[SampleFiles],
) -> tuple[list[SampleFiles], list[tuple[str, Path]]]:
    """The samples with their files as the folders spell them; kind and path of missing ones.

    Lists say `.jpg` where a camera or Windows wrote `.JPG`.
    """
    # Three look-ups a sample would take long on a network drive: there are 65,742 samples.
    present = Present()
    samples, missing = [], []
    for sample in files:
        for kind in ("composite", "real", "mask"):
            path = getattr(sample, kind)
            if path in present:
                continue
            found: dict[str, Any] = {kind: present.find(path)}
            if found[kind]:
                sample = replace(sample, **found)
            else:
                missing.append((kind, path))
        samples.append(sample)
    return samples, missing


def check_root_and_split(root: str, split: str) -> None:
    """Raises InputError unless iHarmony4 has the split and there is a folder to look for it in."""
    if split not in ("train", "test"):
        raise InputError(f"split {split!r}: iHarmony4 has 'train' and 'test'")
    if not root:
        raise InputError("data.root is empty: set it to the folder with the iHarmony4 subsets")
    if not Path(root).is_dir():
        raise InputError(f"data.root {root}: no such folder: pass the one with {SUBSETS[0]}/")


def read_list(root: str, subset: str, split: str) -> list[SampleFiles]:
    """The samples of one list file, in its order; whether their files exist is not checked.

    Entries may have folders before the composite's name.
    """
    if subset not in SUBSETS:
        raise InputError(f"subset {subset!r}: iHarmony4 has {', '.join(SUBSETS)}")
    folder = Path(root) / subset
    list_file = folder / f"{subset}_{split}.txt"
    if not list_file.is_file():
        raise InputError(
            f"{list_file}: list file not found: put it there, or leave {subset} out of data.subsets"
        )
    places: dict[str, int] = {}
    for number, line in enumerate(read_lines(list_file), 1):
        name = with_slashes(line.strip()).rpartition("/")[2]
        if name in places:
            raise InputError(
                f"{list_file}, line {number}: {name} stands in line {places[name]} already: "
                "remove one"
            )
        if name:
            places[name] = number
    if not places:
        raise InputError(f"{list_file}: the list is empty: expected one composite a line")
    return [_sample_files(folder, subset, name, list_file) for name in places]


def decode_sample(
    composite: tuple[str, bytes], real: tuple[str, bytes], mask: tuple[str, bytes]
) -> Sample:
    """Decodes the three files of a sample; of each, what messages call it and its bytes."""
    sample = Sample(
        composite=decode_photo(composite[1], composite[0]),
        real=decode_photo(real[1], real[0]),
        mask=decode_mask(mask[1], mask[0]),
    )
    shape = sample["composite"].shape
    check_size(real[0], sample["real"].shape, composite[0], shape)
    check_size(mask[0], sample["mask"].shape, composite[0], shape)
    check_foreground(mask[0], sample["mask"], composite[0])
    return sample


def check_size(
    label: str, shape: Sequence[int], composite_label: str, composite_shape: Sequence[int]
) -> None:
    """Raises InputError unless a picture has its composite's height and width."""
    if shape[:2] != composite_shape[:2]:
        raise InputError(
            f"{label}: {shape[0]}x{shape[1]} (height x width), but {composite_label} is "
            f"{composite_shape[0]}x{composite_shape[1]}: make the sizes equal"
        )


def check_foreground(label: str, mask: Pixels, composite_label: str) -> None:
    """Raises InputError if a mask is black all over."""
    if not mask.any():
        raise InputError(
            f"{label}: the mask has no foreground: repair it or take {Path(composite_label).name} "
            "out of the list"
        )


def _sample_files(folder: Path, subset: str, name: str, list_file: Path) -> SampleFiles:
    parts = Path(name).stem.split("_")
    if len(parts) < 3:
        raise InputError(f"{list_file}: {name!r}: expected a name such as photo_region_variant.jpg")
    return SampleFiles(
        subset=subset,
        name=name,
        photo=photo_of(subset, name),
        composite=folder / "composite_images" / name,
        real=folder / "real_images" / f"{parts[0]}.jpg",
        mask=folder / "masks" / f"{'_'.join(parts[:-1])}.png",
    )
