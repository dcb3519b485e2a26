from pathlib import Path

import pytest

from harmony_jax import InputError
from harmony_jax.photos.jobs import Inputs, job_of_photo, jobs_of_folder


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def pairs(root: Path, masks: str | None = "masks", onto: str | None = None, recursive=False):
    """Each photo's mask and background by name, and what is said of the others."""
    inputs = Inputs(
        *(root / "photos", root / masks if masks else None, root / "out"),
        root / onto if onto else None,
    )
    jobs, failures = jobs_of_folder(inputs, None, recursive)

    def name(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(root).as_posix()

    found = {name(job.photo): (name(job.mask), name(job.onto), name(job.output)) for job in jobs}
    assert len(found) == len(jobs)
    return found, failures


def masks_of(found) -> dict:
    return {photo: mask for photo, (mask, _, _) in found.items()}


@pytest.mark.parametrize(
    "mask", ["cat.png", "cat.gif", "cat_mask.png", "cat-mask.JPG", "cat.mask.tif", "cat_Mask.png"]
)
def test_names_that_a_mask_may_have(tmp_path, mask):
    touch(tmp_path, "photos/cat.jpg", f"masks/{mask}", "masks/dog.png")
    found, failures = pairs(tmp_path)
    assert (masks_of(found), failures) == ({"photos/cat.jpg": f"masks/{mask}"}, [])
    touch(tmp_path, f"photos/{mask}")
    found, failures = pairs(tmp_path, "photos")
    if mask in ("cat.png", "cat.gif"):  # which of the two is the photo, no name says
        assert not found
        assert failures
    else:
        assert (masks_of(found), failures) == ({"photos/cat.jpg": f"photos/{mask}"}, [])


def test_masks_of_iharmony4(tmp_path):
    photos = [f"a{number}_1_{style}.jpg" for number in (1, 2) for style in (1, 2)]
    touch(tmp_path, *(f"photos/{name}" for name in photos), "masks/a1_1.png", "masks/a2_1.png")
    expected = {f"photos/{name}": f"masks/{name[:4]}.png" for name in photos}
    assert masks_of(pairs(tmp_path)[0]) == expected
    touch(tmp_path, "photos/a1_1.png", "photos/a2_1.png")
    found, failures = pairs(tmp_path, "photos")
    assert masks_of(found) == {
        name: mask.replace("masks", "photos") for name, mask in expected.items()
    }
    assert not failures


def test_a_photo_with_a_mask_of_its_own_is_no_mask_of_others(tmp_path):
    touch(tmp_path, *(f"photos/{name}" for name in ("a_1.jpg", "a_1_mask.png", "a_1_2.jpg")))
    touch(tmp_path, "photos/a_1_2_mask.png")
    found, failures = pairs(tmp_path, "photos")
    assert masks_of(found) == {
        "photos/a_1.jpg": "photos/a_1_mask.png",
        "photos/a_1_2.jpg": "photos/a_1_2_mask.png",
    }
    assert not failures


def test_a_missing_mask_is_named_with_the_files_that_are_there(tmp_path):
    names = ("ant", "cat_matte", "cats", "dog", "eel")
    touch(tmp_path, "photos/cat.jpg", *(f"masks/{name}.png" for name in names))
    (line,) = pairs(tmp_path)[1]
    assert line.startswith(f"{tmp_path}/photos/cat.jpg: no mask: expected {tmp_path}/masks/cat.png")
    assert line.endswith("there is ant.png, cat_matte.png, cats.png and 2 more")
    for name in names:
        (tmp_path / "masks" / f"{name}.png").unlink()
    touch(tmp_path, "masks/cat.psd")
    assert pairs(tmp_path)[1][0].endswith("cat.psd")
    (tmp_path / "masks" / "cat.psd").unlink()
    assert "no mask: expected" in pairs(tmp_path)[1][0]
    assert "photos/cat_mask.png" in pairs(tmp_path, "photos")[1][0]


def test_system_files_are_ignored(tmp_path):
    litter = ("Thumbs.db", ".DS_Store", "desktop.ini", "._cat.jpg", ".hidden/a.jpg")
    touch(tmp_path, "photos/cat.jpg", "masks/cat.png", "photos/__MACOSX/cat.jpg")
    touch(tmp_path, *(f"photos/{name}" for name in litter))
    for recursive in (False, True):
        found, failures = pairs(tmp_path, recursive=recursive)
        assert (list(found), failures) == (["photos/cat.jpg"], [])


def test_links(tmp_path):
    touch(tmp_path, "elsewhere/cow.jpg", "photos/cat.jpg", "masks/cat.png", "masks/link.png")
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "cow.jpg")
    (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "elsewhere" / "gone.jpg")
    found, failures = pairs(tmp_path)
    assert list(found) == ["photos/cat.jpg", "photos/link.jpg"]
    (line,) = failures
    assert line.startswith(f"{tmp_path}/photos/gone.jpg: a link that leads nowhere")


def test_folders_in_the_folder(tmp_path):
    touch(tmp_path, "photos/cat.jpg", "photos/a/b/cat.png", "masks/cat.png", "masks/a/b/cat.png")
    touch(tmp_path, "photos/a/dog.jpg")
    assert list(pairs(tmp_path)[0]) == ["photos/cat.jpg"]
    found, failures = pairs(tmp_path, recursive=True)
    assert found == {
        "photos/cat.jpg": ("masks/cat.png", None, "out/cat.jpg"),
        "photos/a/b/cat.png": ("masks/a/b/cat.png", None, "out/a/b/cat.png"),
    }
    assert [line.partition(";")[0] for line in failures] == [
        f"{tmp_path}/photos/a/dog.jpg: no mask: expected {tmp_path}/masks/a/dog.png"
    ]


def test_results_and_masks_inside_the_folder_are_no_photos(tmp_path):
    touch(tmp_path, "photos/cat.jpg", "photos/masks/cat.png", "photos/out/cat.jpg")
    inputs = Inputs(tmp_path / "photos", tmp_path / "photos/masks", tmp_path / "photos/out")
    jobs, failures = jobs_of_folder(inputs, None, recursive=True)
    assert [job.photo.relative_to(tmp_path).as_posix() for job in jobs] == ["photos/cat.jpg"]
    assert not failures


def test_a_folder_without_photos(tmp_path):
    touch(tmp_path, "photos/a/cat.jpg", "masks/cat.png")
    with pytest.raises(InputError, match=r"no photo in this folder \(.*recursive"):
        pairs(tmp_path)


def test_cutouts_on_backgrounds(tmp_path):
    touch(tmp_path, "photos/cat.png", "photos/dog_1.png", "photos/eel.png")
    touch(tmp_path, "grounds/cat.jpg", "grounds/dog.webp", "beach.jpg")
    found, failures = pairs(tmp_path, None, "grounds")
    assert found == {
        "photos/cat.png": (None, "grounds/cat.jpg", "out/cat.jpg"),
        "photos/dog_1.png": (None, "grounds/dog.webp", "out/dog_1.webp"),
    }
    (line,) = failures
    assert line.startswith(f"{tmp_path}/photos/eel.png: no background: expected ")
    assert line.endswith("cat.jpg, dog.webp")
    found, failures = pairs(tmp_path, None, "beach.jpg")
    assert {ground for _, ground, _ in found.values()} == {"beach.jpg"}
    assert [output for _, _, output in found.values()] == [
        f"out/{name}.jpg" for name in ("cat", "dog_1", "eel")
    ]
    assert not failures


def test_backgrounds_are_not_written_over(tmp_path):
    touch(tmp_path, "cat.png", "beach.jpg")
    cut, ground = tmp_path / "cat.png", tmp_path / "beach.jpg"
    with pytest.raises(InputError, match=r"beach\.jpg: is the background itself"):
        job_of_photo(Inputs(cut, None, ground, ground), None, True)
    (tmp_path / "grounds").mkdir()
    with pytest.raises(InputError, match="grounds: is a folder"):
        job_of_photo(Inputs(cut, None, tmp_path / "o.png", tmp_path / "grounds"), None, True)
    touch(tmp_path, "photos/cat.png")
    inputs = Inputs(tmp_path / "photos", None, tmp_path / "grounds", tmp_path / "grounds")
    with pytest.raises(InputError, match="grounds: is the folder of the backgrounds"):
        jobs_of_folder(inputs, None, False)
