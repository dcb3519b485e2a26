"""iHarmony4 as downloaded: four folders of composites, real photos and masks, with list files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony_jax.data.photos import read_mask, read_photo
from harmony_jax.data.sources import Sample
from harmony_jax.errors import InputError

SUBSETS = ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night")


@dataclass(frozen=True)
class Record:
    """Where one sample lies; the real photo is what composites of one photo share."""

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
        if split not in ("train", "test"):
            raise InputError(f"split {split!r}: iHarmony4 has 'train' and 'test'")
        if not root:
            raise InputError(
                "data.root is empty: pass --config.data.root=FOLDER with the iHarmony4 subsets"
            )
        if not Path(root).is_dir():
            raise InputError(f"data.root {root}: no such folder: pass the one with {SUBSETS[0]}/")
        self.records = [record for subset in subsets for record in _records(root, subset, split)]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Decodes one sample.

        Raises:
            InputError: a picture is damaged, sizes differ, or the mask has no foreground.
        """
        record = self.records[index]
        composite, real = read_photo(record.composite), read_photo(record.real)
        mask = read_mask(record.mask)
        for path, pixels in ((record.real, real), (record.mask, mask)):
            if pixels.shape[:2] != composite.shape[:2]:
                raise InputError(
                    f"{path}: {pixels.shape[0]}x{pixels.shape[1]} (height x width), but "
                    f"{record.composite} is {composite.shape[0]}x{composite.shape[1]}: "
                    "make the sizes equal"
                )
        if not mask.any():
            raise InputError(
                f"{record.mask}: the mask has no foreground: repair it or take "
                f"{record.name} out of the list"
            )
        return {"composite": composite, "real": real, "mask": mask}

    def subset(self, index: int) -> str:
        return self.records[index].subset

    def name(self, index: int) -> str:
        return self.records[index].name

    def photo(self, index: int) -> str:
        """Identifies the real photo, which several composites may share."""
        return str(self.records[index].real)


def _records(root: str, subset: str, split: str) -> list[Record]:
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
    records = [_record(folder, subset, name, list_file) for name in names]
    # One listing a folder instead of three look-ups a sample: 65,742 samples on a network drive.
    for kind in ("composite", "real", "mask"):
        paths: list[Path] = [getattr(record, kind) for record in records]
        present = set(os.listdir(paths[0].parent)) if paths[0].parent.is_dir() else set()
        missing = [path for path in paths if path.name not in present]
        if missing:
            raise InputError(
                f"{missing[0]}: {kind} not found ({len(missing)} of {len(paths)} listed in "
                f"{list_file.name} are missing): complete the download"
            )
    return records


def _record(folder: Path, subset: str, name: str, list_file: Path) -> Record:
    parts = Path(name).stem.split("_")
    if len(parts) < 3:
        raise InputError(f"{list_file}: {name!r}: expected a name such as photo_region_variant.jpg")
    return Record(
        subset=subset,
        name=name,
        composite=folder / "composite_images" / name,
        real=folder / "real_images" / f"{parts[0]}.jpg",
        mask=folder / "masks" / f"{'_'.join(parts[:-1])}.png",
    )
