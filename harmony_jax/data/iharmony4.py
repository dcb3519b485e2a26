"""iHarmony4 as downloaded: four folders of composites, real photos and masks, with list files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony_jax.data.codecs import Pixels, decode_mask, decode_photo
from harmony_jax.data.sources import Sample
from harmony_jax.disk import read_file
from harmony_jax.errors import InputError

SUBSETS = ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night")

# Composites in each list as published: 65,742 and 7,404.
PUBLISHED = {
    "train": {"HCOCO": 38545, "HAdobe5k": 19437, "HFlickr": 7449, "Hday2night": 311},
    "test": {"HCOCO": 4283, "HAdobe5k": 2160, "HFlickr": 828, "Hday2night": 133},
}
COMPOSITES = sum(PUBLISHED["train"].values())  # 65,742, to train on


@dataclass(frozen=True)
class SampleFiles:
    """Where one sample lies; composites of one photo share the real photo, and may the mask."""

    subset: str
    name: str
    composite: Path
    real: Path
    mask: Path


class IHarmony4Source:
    """Random access to decoded samples, in the order of the list files.

    Composite `a_b_c.jpg`, real photo `a.jpg`, mask `a_b.png`; `<subset>_train.txt` and
    `<subset>_test.txt` list the composites.

    Args:
        root: folder that holds the subset folders.
        split: "train" or "test".
        subsets: which subsets, in this order.

    Raises:
        InputError: a folder, list or listed file is missing, or a subset or split is unknown.
    """

    def __init__(self, root: str, split: str, subsets: Sequence[str] = SUBSETS):
        check_root_and_split(root, split)
        self.files: list[SampleFiles] = []
        for subset in subsets:
            files = read_list(root, subset, split)
            _check_presence(files, f"{subset}_{split}.txt")
            self.files += files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """Decodes one sample.

        Raises:
            InputError: a picture is damaged, sizes differ, or the mask has no foreground.
        """
        sample = self.files[index]
        composite, real, mask = (
            (str(path), read_file(path)) for path in (sample.composite, sample.real, sample.mask)
        )
        return decode_sample(composite, real, mask)

    def subset(self, index: int) -> str:
        return self.files[index].subset

    def name(self, index: int) -> str:
        return self.files[index].name

    def photo(self, index: int) -> str:
        return photo_of(self.files[index].subset, self.files[index].name)


def photo_of(subset: str, name: str) -> str:
    """Identifies the real photo of composite `name`, which several composites may share."""
    return f"{subset}/{name.split('_')[0]}.jpg"


def scene_of(photo: str) -> str:
    """What photos show, of `photo_of`: several of Hday2night are one place at several times.

    `d21901-20130410-181833.jpg` is of the scene d21901; in the other subsets each photo is a scene.
    """
    subset, _, name = photo.partition("/")
    return f"{subset}/{name.partition('-')[0]}" if subset == "Hday2night" else photo


def check_root_and_split(root: str, split: str) -> None:
    """Raises InputError unless iHarmony4 has the split and there is a folder to look for it in."""
    if split not in ("train", "test"):
        raise InputError(f"split {split!r}: iHarmony4 has 'train' and 'test'")
    if not root:
        raise InputError(
            "data.root is empty: pass --config.data.root=FOLDER with the iHarmony4 subsets"
        )
    if not Path(root).is_dir():
        raise InputError(f"data.root {root}: no such folder: pass the one with {SUBSETS[0]}/")


def read_list(root: str, subset: str, split: str) -> list[SampleFiles]:
    """The samples of one list file, in its order; whether their files exist is not looked at.

    Raises:
        InputError: unknown subset, or the list is missing, empty or holds another kind of name.
    """
    if subset not in SUBSETS:
        raise InputError(f"subset {subset!r}: iHarmony4 has {', '.join(SUBSETS)}")
    folder = Path(root) / subset
    list_file = folder / f"{subset}_{split}.txt"
    if not list_file.is_file():
        raise InputError(
            f"{list_file}: list file not found: put it there, or leave {subset} out of data.subsets"
        )
    names = [line.strip() for line in list_file.read_text().splitlines() if line.strip()]
    if not names:
        raise InputError(f"{list_file}: the list is empty: expected one composite a line")
    return [_sample_files(folder, subset, name, list_file) for name in names]


def decode_sample(
    composite: tuple[str, bytes], real: tuple[str, bytes], mask: tuple[str, bytes]
) -> Sample:
    """Decodes the three files of a sample; of each, what messages call it and its bytes.

    Raises:
        InputError: a picture is damaged, sizes differ, or the mask has no foreground.
    """
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


def _check_presence(files: Sequence[SampleFiles], list_name: str) -> None:
    """Raises InputError if a file of one list's samples is missing."""
    # One listing a folder instead of three look-ups a sample: 65,742 samples on a network drive.
    for kind in ("composite", "real", "mask"):
        paths: list[Path] = [getattr(sample, kind) for sample in files]
        present = set(os.listdir(paths[0].parent)) if paths[0].parent.is_dir() else set()
        missing = [path for path in paths if path.name not in present]
        if missing:
            raise InputError(
                f"{missing[0]}: {kind} not found ({len(missing)} of {len(paths)} listed in "
                f"{list_name} are missing): complete the download"
            )


def _sample_files(folder: Path, subset: str, name: str, list_file: Path) -> SampleFiles:
    parts = Path(name).stem.split("_")
    if len(parts) < 3:
        raise InputError(f"{list_file}: {name!r}: expected a name such as photo_region_variant.jpg")
    return SampleFiles(
        subset=subset,
        name=name,
        composite=folder / "composite_images" / name,
        real=folder / "real_images" / f"{parts[0]}.jpg",
        mask=folder / "masks" / f"{'_'.join(parts[:-1])}.png",
    )
