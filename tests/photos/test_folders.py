import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import harmony_jax.photos.folders
from harmony_jax import Harmonizer, InputError
from harmony_jax.photos.decoding import read_picture
from harmony_jax.photos.encoding import JpegOptions, write_picture
from harmony_jax.photos.folders import Outcome, Settings, predict
from harmony_jax.photos.pasting import Placement
from harmony_jax.photos.picture import Picture
from tests.photos.files import noise, photo_and_mask, sample, tiff_of


@pytest.fixture(autouse=True)
def _one_model(harmonizer, monkeypatch):
    """Loaded and compiled once for all tests; test_harmonizer.py loads it anew."""
    loaded = classmethod(lambda cls, path, mirror: harmonizer)
    monkeypatch.setattr(Harmonizer, "from_checkpoint", loaded)


@pytest.fixture
def folder(tmp_path):
    """Four photos; one has its own mask, two share their region's as in iHarmony4."""
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
    for name, mask_name in (
        ("cat.png", "cat.png"),
        ("a_1_1.png", "a_1.png"),
        ("a_1_2.tif", "a_1.png"),
        ("dog.webp", "dog.tif"),
    ):
        image, mask = photo_and_mask()
        write_picture(tmp_path / "photos" / name, Picture(image))
        Image.fromarray(mask).save(tmp_path / "masks" / mask_name)
    return tmp_path


def run(folder: Path, settings: Settings = Settings(), masks: bool = True) -> Outcome:  # noqa: B008
    found = folder / "masks" if masks else None
    return predict("model", folder / "photos", found, folder / "out", settings)


def names(paths) -> set[str]:
    return {path.name for path in paths}


def test_one_photo_to_a_file_or_into_a_folder(folder, harmonizer):
    photo, mask = folder / "photos" / "cat.png", folder / "masks" / "cat.png"
    outcome = predict("model", photo, mask, folder / "new" / "out.png")
    assert outcome == Outcome([folder / "new" / "out.png"], 0, [])
    expected = harmonizer.harmonize(read_picture(photo).pixels, cv2.imread(str(mask), 0))
    np.testing.assert_array_equal(read_picture(folder / "new" / "out.png").pixels, expected)
    assert predict("model", photo, mask, folder / "new").written == [folder / "new" / "cat.png"]
    predict("model", photo, mask, folder / "same.png", Settings(strength=0.0))
    np.testing.assert_array_equal(
        read_picture(folder / "same.png").pixels, read_picture(photo).pixels
    )


def test_a_folder_is_continued_and_overwritten_only_when_asked(folder):
    everything = {"cat.png", "a_1_1.png", "a_1_2.tif", "dog.webp"}
    assert names(run(folder).written) == everything
    (folder / "out" / "dog.webp").write_bytes(b"mine")
    (folder / "out" / "cat.png").unlink()
    again = run(folder)
    assert names(again.written) == {"cat.png"}
    assert (again.present, again.failures) == (3, [])
    assert (folder / "out" / "dog.webp").read_bytes() == b"mine"
    assert names(run(folder, Settings(overwrite=True)).written) == everything
    assert read_picture(folder / "out" / "dog.webp").pixels.shape == (40, 50, 3)
    assert names((folder / "out").iterdir()) == everything  # no temporary file


def test_a_stranger_s_folder_is_done(tmp_path):
    """Names of other encodings, with newlines and dashes, as long as can be; links in a circle."""
    photos, masks, out = tmp_path / "photos", tmp_path / "masks", tmp_path / "out"
    names = [b"caf\xe9", b"new\nline", b"-o", b" ", b"a" * 251, b"Twin", b"twin"]
    image, mask = photo_and_mask()
    for folder, pixels in ((photos, image), (masks, mask)):
        folder.mkdir()
        for name in names:
            Image.fromarray(pixels).save(folder / f"{os.fsdecode(name)}.png")
    (photos / "around").symlink_to(photos)
    (photos / "one.png").symlink_to(photos / "other.png")
    (photos / "other.png").symlink_to(photos / "one.png")
    (photos / "mask\nless\udce9.png").write_bytes(b"")
    written, present, failures = predict("model", photos, masks, out, Settings(recursive=True))
    assert {os.fsencode(path.name) for path in written} == {name + b".png" for name in names}
    assert not present
    assert len(failures) == 3
    assert all("\n" not in failure for failure in failures)
    assert sum("a link that leads nowhere" in failure for failure in failures) == 2


def test_failures_are_told_and_the_others_done(folder, monkeypatch, caplog):
    photos, masks = folder / "photos", folder / "masks"
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_text("no picture")
    (photos / "notes.txt").write_text("no photo")
    (photos / "alone.png").write_bytes((photos / "cat.png").read_bytes())
    whole = (photos / "cat.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("black.png", "white.png", "twin.png", "twin.tif", "dot.png", "both.png"):
        (photos / name).write_bytes(whole)
    Image.new("RGB", (1, 1)).save(photos / "dot.png")
    for name, value in (("black", 0), ("white", 255), ("dot", 255)):
        Image.fromarray(np.full((40, 50), value, np.uint8)).save(masks / f"{name}.png")
    for name in ("empty.png", "text.png", "cut.png", "twin.png", "both.png", "both.jpg"):
        Image.fromarray(photo_and_mask()[1]).save(masks / name)
    (photos / "wide.png").write_bytes(whole)
    Image.fromarray(photo_and_mask(20, 25)[1]).save(masks / "wide.png")
    Image.new("RGB", (51, 40)).save(photos / "large.png")
    (masks / "large.png").write_bytes((masks / "cat.png").read_bytes())

    def write(path, *arguments):
        if path.stem == "cat":
            raise RuntimeError("out of\nluck")
        write_picture(path, *arguments)

    monkeypatch.setattr(harmony_jax.photos.folders, "write_picture", write)
    outcome = run(folder, Settings(max_pixels=2000))
    assert names(outcome.written) == {"wide.png", "a_1_1.png", "a_1_2.tif", "dog.webp"}
    assert "wide.png: is 25 x 20, the photo 50 x 40: the mask is resized" in caplog.text
    found = {Path(line.split(":")[0].split(" with ")[0]).name: line for line in outcome.failures}
    expected = {
        "empty.jpg": "the file is empty",
        "text.jpg": "not a picture",
        "notes.txt": "unknown ending '.txt'",
        "alone.png": f"no mask: expected {masks / 'alone.png'}",
        "cut.png": "damaged PNG",
        "black.png": "no foreground",
        "white.png": "no background to fit to",
        "twin.png": "twin.tif has the same stem",
        "twin.tif": "twin.png has the same stem",
        "dot.png": "1 x 1 pixels: too small",
        "both.png": "both.jpg and both.png could both be its mask",
        "large.png": "51 x 40 pixels: at most 0.002 megapixels",
        "cat.png": "RuntimeError: out of luck",
    }
    assert set(found) == set(expected)
    for name, text in expected.items():
        assert text in found[name]
        assert "\n" not in found[name]
    assert names((folder / "out").iterdir()) == names(outcome.written)


def test_photos_and_masks_are_checked_before_the_model_is_loaded(folder, harmonizer, monkeypatch):
    loaded = []

    def load(cls, path, mirror):
        loaded.append(path)
        if len(loaded) == 1:
            raise InputError("no such model")
        return harmonizer

    monkeypatch.setattr(Harmonizer, "from_checkpoint", classmethod(load))
    for path in (folder / "masks").iterdir():
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(path)
    photo, mask = folder / "photos" / "cat.png", folder / "masks" / "cat.png"
    with pytest.raises(InputError, match="the mask has no foreground"):
        predict("model", photo, mask, folder / "out.png")
    assert len(run(folder).failures) == 4
    assert not loaded
    Image.fromarray(photo_and_mask()[1]).save(mask)
    with pytest.raises(InputError, match=r"^no such model$"):  # which is no photo's fault
        run(folder)
    assert len(run(folder).failures) == 3
    assert loaded == ["model"] * 2


@pytest.mark.parametrize("name", ["x_mask.png", "x_mask.bmp", "x_mask.gif"])
def test_masks_beside_their_photos(folder, harmonizer, name):
    empty(folder / "photos")
    image, mask = photo_and_mask()
    write_picture(folder / "photos" / "x.tif", Picture(image))
    red = np.where(mask[:, :, None] > 0, [128, 0, 0], 0).astype(np.uint8)
    Image.fromarray(red).save(folder / "photos" / name)
    settings = Settings(ending=".png")
    outcome = predict("model", folder / "photos", folder / "photos", folder / "out", settings)
    assert (names(outcome.written), outcome.failures) == ({"x.png"}, [])
    result = read_picture(folder / "out" / "x.png").pixels
    np.testing.assert_array_equal(result, harmonizer.harmonize(image, mask))


def test_values_of_masks(folder, harmonizer, caplog):
    image, mask = photo_and_mask()
    labels = (mask // 255) * np.uint8(15)
    labels[32:38, 5:20] = 7
    photo, path, out = folder / "photos" / "cat.png", folder / "masks" / "cat.png", folder / "o.png"
    Image.fromarray(labels).save(path)
    write_picture(photo, Picture(image))
    predict("model", photo, path, out, Settings(mask_values=((15,),)))
    assert not caplog.text
    np.testing.assert_array_equal(read_picture(out).pixels, harmonizer.harmonize(image, mask))
    predict("model", photo, path, out, Settings(overwrite=True))
    assert "cat.png: has 2 values besides its background 0 (7; 15): all" in caplog.text
    expected = harmonizer.harmonize(image, labels > 0)
    np.testing.assert_array_equal(read_picture(out).pixels, expected)
    with pytest.raises(InputError, match=r"cat\.png with .*no pixel of value 9: it has 0; 7; 15"):
        predict("model", photo, path, out, Settings(overwrite=True, mask_values=((9,),)))
    shares = path.with_suffix(".tif")
    shares.write_bytes(tiff_of((mask / 255).astype(np.float32), photometric="minisblack"))
    predict("model", photo, shares, out, Settings(overwrite=True))
    np.testing.assert_array_equal(read_picture(out).pixels, harmonizer.harmonize(image, mask))


def test_cutouts_are_pasted_and_harmonized(folder, harmonizer):
    cutouts(folder)
    ground = noise(60, 90, 3)
    write_picture(
        folder / "beach.tif", Picture(ground, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    )
    settings = Settings(placement=Placement(at=(30, 5), scale=1.2))
    outcome = predict(
        *("model", folder / "photos", None, folder / "out", settings), folder / "beach.tif"
    )
    assert (names(outcome.written), outcome.failures) == ({"cut.tif"}, [])
    cut = np.asarray(Image.open(folder / "photos" / "cut.png"))
    expected = harmonizer.paste(cut, ground, at=(30, 5), scale=1.2)
    result = read_picture(folder / "out" / "cut.tif").pixels
    np.testing.assert_array_equal(result, expected)
    outside = np.ones((60, 90), bool)
    outside[5:53, 30:90] = False
    np.testing.assert_array_equal(result[outside], ground[outside])
    assert (result != ground).any()
    Image.fromarray(cut[:, :, :3]).save(folder / "whole.png")
    Image.fromarray(cut[:, :, 3]).save(folder / "whole_mask.png")
    predict(
        *("model", folder / "whole.png", folder / "whole_mask.png", folder / "one.png", settings),
        folder / "beach.tif",
    )
    np.testing.assert_array_equal(read_picture(folder / "one.png").pixels, expected)


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def cutouts(folder: Path) -> None:
    empty(folder / "photos")
    image, mask = photo_and_mask()
    Image.fromarray(np.dstack([image, mask])).save(folder / "photos" / "cut.png")


def test_alpha_channels(folder, harmonizer, caplog):
    """As a mask it makes an opaque result; beside a mask it is kept, but not in JPEG."""
    cutouts(folder)
    photo, mask = folder / "photos" / "cut.png", folder / "masks" / "cat.png"
    cut = read_picture(photo)
    assert names(run(folder, masks=False).written) == {"cut.png"}
    result = read_picture(folder / "out" / "cut.png")
    assert result.alpha is None
    np.testing.assert_array_equal(result.pixels, harmonizer.harmonize(cut.pixels, cut.alpha))
    predict("model", photo, mask, folder / "out.png")
    np.testing.assert_array_equal(read_picture(folder / "out.png").alpha, cut.alpha)
    assert not caplog.text
    predict("model", photo, mask, folder / "out.jpg")
    assert "out.jpg: JPEG holds no alpha channel" in caplog.text
    pixels = np.where(cut.alpha[:, :, None] > 0, cut.pixels, 0).astype(np.uint8)
    write_picture(photo, cut._replace(pixels=pixels))
    run(folder, Settings(overwrite=True), masks=False)
    assert "cut.png: its background is one colour" in caplog.text


@pytest.mark.parametrize("alpha", [False, True])
def test_inverted_masks(folder, alpha, caplog):
    """Never guessed; taken as asked; looked for when asked."""
    image, mask = photo_and_mask()
    photo, out = folder / "photos" / "cat.png", folder / "out.png"

    def result(mask: np.ndarray, settings: Settings) -> np.ndarray:
        write_picture(photo, Picture(image, mask if alpha else None))
        Image.fromarray(mask).save(folder / "masks" / "cat.png")
        predict("model", photo, None if alpha else folder / "masks" / "cat.png", out, settings)
        return read_picture(out).pixels

    overwrite = Settings(overwrite=True)
    right = result(mask, overwrite)
    wrong = result(255 - mask, overwrite)
    assert (right != wrong).any()
    always, auto = (overwrite._replace(invert_masks=kind) for kind in ("always", "auto"))
    np.testing.assert_array_equal(result(255 - mask, always), right)
    np.testing.assert_array_equal(result(mask, auto), right)
    assert "taken as inverted" not in caplog.text
    np.testing.assert_array_equal(result(255 - mask, auto), right)
    assert "cat.png: white along the picture's border: taken as inverted" in caplog.text


def test_what_cannot_begin(folder):
    photos, masks, out = folder / "photos", folder / "masks", folder / "out"
    photo, mask = photos / "cat.png", masks / "cat.png"

    def refuse(image, mask, output, message, **settings):
        before = sorted(folder.rglob("*"))
        with pytest.raises(InputError, match=message):
            predict("model", image, mask, output, Settings(**settings))
        assert sorted(folder.rglob("*")) == before

    refuse(photos / "cow.png", mask, out, r"cow\.png: no such file")
    refuse(photo, masks / "cow.png", out, r"cow\.png: no such file")
    refuse(photos, mask, out, "pass two files or two folders")
    refuse(photo, None, out, "no mask, and no alpha channel")
    refuse(photo, mask, folder / "out.xyz", r"out\.xyz: the ending '\.xyz' is unknown")
    refuse(photo, mask, photo, r"cat\.png: is the photo itself")
    refuse(photo, mask, mask, r"cat\.png: is the mask itself", overwrite=True)
    (folder / "there.png").touch()
    refuse(photo, mask, folder / "there.png", r"there\.png: exists already")
    refuse(photos, masks, photos, "is the folder of the photos")
    refuse(photos, masks, masks, "is the folder of the masks")
    refuse(photos, masks, photo, r"cat\.png: is a file: choose a folder")
    refuse(photo, mask, photo / "out.png", r"cannot be written \(Not a directory\)")
    with pytest.raises(InputError, match=r"o\.jpg: does not end in \.png, the format asked for"):
        predict("model", photo, mask, folder / "o.jpg", Settings(ending=".png"))
    (folder / "empty").mkdir()
    refuse(folder / "empty", masks, out, "empty: no photo in this folder")
    (photos / "cut.png").write_bytes(photo.read_bytes()[:-50])
    refuse(photos / "cut.png", mask, out, r"cut\.png: damaged PNG")


def test_a_folder_that_may_not_be_looked_into_is_one_line(folder, monkeypatch):
    """Root may look anywhere: the system's answer to others is made up."""
    stat = os.stat

    def denied(path, *arguments, **options):
        if "secret" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", denied)
    photo, mask = folder / "photos" / "cat.png", folder / "masks" / "cat.png"
    secret = folder / "secret" / "x.png"
    for paths in ((photo, mask, secret), (secret, mask, folder / "o.png"), (photo, secret, secret)):
        with pytest.raises(InputError, match=r"secret.* \(Permission denied\)"):
            predict("model", *paths)


def test_photos_of_formats_that_are_not_written_become_png(folder, caplog):
    empty(folder / "photos")
    image, mask = photo_and_mask(24, 32)
    (folder / "photos" / "IMG_1.HEIC").write_bytes(sample("alpha.heic"))
    Image.fromarray(image).save(folder / "photos" / "b.gif")
    Image.fromarray(image).save(folder / "photos" / "c.jpg", quality=60)
    for name in ("IMG_1", "b", "c"):
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    outcome = run(folder, Settings(jpeg=JpegOptions(quality=40)))
    assert names(outcome.written) == {"IMG_1.png", "b.png", "c.jpg"}
    assert not outcome.failures
    assert "IMG_1.HEIC: this format is not written: the output ends in .png" in caplog.text
    photo = read_picture(folder / "photos" / "IMG_1.HEIC")
    found = read_picture(folder / "out" / "IMG_1.png")
    np.testing.assert_array_equal(found.pixels[mask == 0], photo.pixels[mask == 0])
    np.testing.assert_array_equal(found.alpha, photo.alpha)
    Image.fromarray(image).save(folder / "expected.jpg", quality=40)
    with Image.open(folder / "expected.jpg") as expected, Image.open(outcome.written[-1]) as found:
        assert found.quantization == expected.quantization
    with pytest.raises(InputError, match=r"o\.heic: the ending '\.heic' is read but not written"):
        predict("model", folder / "photos" / "b.gif", None, folder / "o.heic")
