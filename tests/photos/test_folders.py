import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import harmony_jax.photos.folders
from harmony_jax import Harmonizer, InputError
from harmony_jax.photos.folders import Outcome, Settings, harmonize_picture, predict
from harmony_jax.photos.formats import JpegOptions, Picture, read_picture, write_picture
from harmony_jax.photos.pasting import Placement
from tests.photos.files import noise, photo_and_mask, sample


@pytest.fixture(autouse=True)
def _one_model(harmonizer, monkeypatch):
    """Loaded and compiled once for all tests; test_harmonizer.py loads it anew."""
    monkeypatch.setattr(Harmonizer, "from_checkpoint", classmethod(lambda cls, path: harmonizer))


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


def test_results_of_a_folder_are_those_of_single_photos(folder, harmonizer):
    outcome = run(folder, Settings(ending=".png"))
    assert names(outcome.written) == {"cat.png", "a_1_1.png", "a_1_2.png", "dog.png"}
    for photo, mask in (("a_1_2.tif", "a_1.png"), ("dog.webp", "dog.tif")):
        pixels = read_picture(folder / "photos" / photo).pixels
        expected = harmonizer.harmonize(pixels, Image.open(folder / "masks" / mask))
        result = read_picture((folder / "out" / photo).with_suffix(".png")).pixels
        np.testing.assert_array_equal(result, expected)


def test_failures_are_told_and_the_others_done(folder):
    photos, masks = folder / "photos", folder / "masks"
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_text("no picture")
    (photos / "notes.txt").write_text("no photo")
    (photos / "cat.txt").write_text("no photo either")
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
    (photos / ".DS_Store").write_bytes(b"left by a file manager")
    (photos / "sub").mkdir()
    outcome = run(folder)
    assert names(outcome.written) == {"cat.png", "a_1_1.png", "a_1_2.tif", "dog.webp"}
    found = {Path(line.split(":")[0].split(" with ")[0]).name: line for line in outcome.failures}
    expected = {
        "empty.jpg": "the file is empty",
        "text.jpg": "not a picture",
        "cat.txt": "unknown ending '.txt'",
        "notes.txt": "unknown ending '.txt'",
        "alone.png": f"no mask: expected {masks / 'alone.png'}",
        "cut.png": "damaged PNG",
        "black.png": "no foreground",
        "white.png": "no background to fit to",
        "twin.png": "twin.tif has the same stem",
        "twin.tif": "twin.png has the same stem",
        "dot.png": "1 x 1 pixels: too small",
        "both.png": "both.jpg and both.png could both be its mask",
    }
    assert set(found) == set(expected)
    for name, text in expected.items():
        assert text in found[name]
        assert "\n" not in found[name]
    assert names((folder / "out").iterdir()) == names(outcome.written)


def test_photos_and_masks_are_checked_before_the_model_is_loaded(folder, harmonizer, monkeypatch):
    loaded = []

    def load(cls, path):
        loaded.append(path)
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
    assert len(run(folder).failures) == 3
    assert loaded == ["model"]


def test_a_model_that_cannot_be_had_is_no_photos_fault(folder, monkeypatch):
    def load(cls, path):
        raise InputError("no such model")

    monkeypatch.setattr(Harmonizer, "from_checkpoint", classmethod(load))
    with pytest.raises(InputError, match=r"^no such model$"):
        run(folder)


@pytest.mark.parametrize("name", ["x_mask.png", "x_mask.bmp", "x_mask.gif"])
def test_masks_beside_their_photos(folder, harmonizer, name):
    for path in (folder / "photos").iterdir():
        path.unlink()
    image, mask = photo_and_mask()
    write_picture(folder / "photos" / "x.png", Picture(image))
    red = np.where(mask[:, :, None] > 0, [128, 0, 0], 0).astype(np.uint8)
    Image.fromarray(red).save(folder / "photos" / name)
    outcome = predict("model", folder / "photos", folder / "photos", folder / "out")
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


def test_arguments_in_the_wrong_order(folder):
    Image.fromarray(noise(40, 50, 3)).save(folder / "photos" / "cat.png")
    with pytest.raises(InputError, match=r"2,000 colours: is it the photo"):
        predict(
            *("model", folder / "masks" / "cat.png", folder / "photos" / "cat.png"),
            folder / "out.png",
        )


def test_a_mask_that_lies_where_the_photo_stands(folder):
    """Of a photo that EXIF turns, the mask as it was stored; a mask that EXIF turns, fits."""
    image, mask = photo_and_mask()
    exif = Image.Exif()
    exif[274] = 6  # stored lying, seen standing
    photo, path = folder / "photos" / "cat.png", folder / "masks" / "cat.png"
    Image.fromarray(image).save(photo, exif=exif)
    Image.fromarray(mask).save(path)
    with pytest.raises(InputError, match=r"mask is 50 x 40, the photo 40 x 50 .*turn the mask"):
        predict("model", photo, path, folder / "out.png")
    Image.fromarray(mask).save(path, exif=exif)
    predict("model", photo, path, folder / "out.png")
    changed = (read_picture(folder / "out.png").pixels != np.rot90(image, -1)).any(2)
    assert changed.any()
    assert not changed[np.rot90(mask, -1) == 0].any()


def test_cutouts_are_pasted_and_harmonized(folder, harmonizer):
    """One or all of a folder; outside, the result is the background to the last bit."""
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


def test_a_cutout_with_nothing_behind_it_is_told(folder, caplog):
    cutouts(folder)
    run(folder, masks=False)
    assert not caplog.text
    image, mask = photo_and_mask()
    image[mask == 0] = 0
    Image.fromarray(np.dstack([image, mask])).save(folder / "photos" / "cut.png")
    run(folder, Settings(overwrite=True), masks=False)
    assert "cut.png: its background is one colour" in caplog.text


def cutouts(folder: Path) -> None:
    for path in (folder / "photos").iterdir():
        path.unlink()
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


def test_photos_that_are_too_large_or_have_no_mask(folder):
    for settings, masks, message in (
        (Settings(max_pixels=1999), True, "50 x 40 pixels: at most 0.001999 megapixels"),
        (Settings(), False, "no mask, and no alpha channel"),
    ):
        outcome = run(folder, settings, masks)
        assert len(outcome.failures) == 4
        assert message in outcome.failures[0]


def test_a_mask_of_another_size_is_resized_with_a_warning(folder, caplog):
    Image.fromarray(photo_and_mask(20, 25)[1]).save(folder / "masks" / "cat.png")
    run(folder)
    assert "cat.png: is 25 x 20, the photo 50 x 40: the mask is resized" in caplog.text


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


def test_grey_deep_and_turned_photos_keep_their_kind(folder, harmonizer):
    image, mask = photo_and_mask()
    deep = image.astype(np.uint16) * 257
    grey = np.repeat(image[:, :, :1], 3, 2)
    for picture in (Picture(deep), Picture(grey, grey=True), Picture(image, None, False, b"icc")):
        result, blend_mask = harmonize_picture(harmonizer, picture, mask)
        assert result.pixels.dtype == picture.pixels.dtype
        assert result[1:] == picture[1:]
        assert blend_mask.shape == (32, 32)
        assert 0 <= blend_mask.min() <= blend_mask.max() <= 1
        np.testing.assert_array_equal(result.pixels[mask == 0], picture.pixels[mask == 0])


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


def test_an_unwritable_folder_is_found_before_anything_is_computed(folder, monkeypatch):
    def no_folder(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", no_folder)
    with pytest.raises(InputError, match=r"out: cannot be written \(Permission denied\)"):
        run(folder)


def test_an_interrupt_leaves_whole_files_and_goes_on(folder, harmonizer, monkeypatch):
    monkeypatch.setattr("harmony_jax.photos.folders._WORKERS", 1)
    begun = threading.Event()
    harmonize_all = Harmonizer.harmonize_all

    def slow(self, *arguments, **options):
        begun.set()
        return harmonize_all(self, *arguments, **options)

    def interrupted(futures):
        begun.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(Harmonizer, "harmonize_all", slow)
    with monkeypatch.context() as patch:
        patch.setattr("harmony_jax.photos.folders.as_completed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    done = list((folder / "out").iterdir())
    assert 1 <= len(done) < 4
    outcome = run(folder)
    assert len(outcome.written) + outcome.present == 4
    assert outcome.present == len(done)


def test_the_next_photo_is_read_while_the_network_works(folder, monkeypatch):
    monkeypatch.setattr("harmony_jax.photos.folders._WORKERS", 2)
    second, waited = threading.Event(), []
    decode = harmony_jax.photos.folders.decode_picture
    harmonize_all = Harmonizer.harmonize_all
    read = []

    def noted(data, label, most):
        read.append(label)
        if len(read) > 2:  # a photo and its mask were the first
            second.set()
        return decode(data, label, most)

    def slow(self, *arguments, **options):
        waited.append(second.wait(20))
        return harmonize_all(self, *arguments, **options)

    monkeypatch.setattr("harmony_jax.photos.folders.decode_picture", noted)
    monkeypatch.setattr(Harmonizer, "harmonize_all", slow)
    assert len(run(folder).written) == 4
    assert waited == [True] * 4


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


def test_what_nobody_foresaw_costs_one_photo(folder, harmonizer, monkeypatch):
    def fail(harmonizer, job, *arguments):
        if job.photo.stem == "cat":
            raise RuntimeError("out of\nluck")
        return run_files(harmonizer, job, *arguments)

    run_files = harmony_jax.photos.folders._run_files
    monkeypatch.setattr("harmony_jax.photos.folders._run_files", fail)
    outcome = run(folder)
    assert outcome.written
    assert f"{folder / 'photos' / 'cat.png'}: RuntimeError: out of luck" in outcome.failures
    assert not (folder / "out" / "cat.png").exists()


def test_photos_of_formats_that_are_not_written_become_png(folder, caplog):
    for path in (folder / "photos").iterdir():
        path.unlink()
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
