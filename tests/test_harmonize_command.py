"""The `harmonize` command, as a person meets it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmony_jax import Harmonizer
from harmony_jax.harmonize_command import main
from tests import commands
from tests.photos.files import noise, photo_and_mask
from tests.video.made import circle, frame_of, random_planes, write_clip

RNG = np.random.default_rng(0)
IMAGES = Path(__file__).parents[1] / "docs" / "images"
EXAMPLE = [str(IMAGES / name) for name in ("example.jpg", "example_mask.png")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for name in ("photos", "masks"):
        (root / name).mkdir()
        for stem in ("cat", "dog"):
            pixels = noise(40, 50, 3) if name == "photos" else photo_and_mask(40, 50)[1]
            Image.fromarray(pixels).save(root / name / f"{stem}.png")
    return root


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).parent / "harmonize"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_one_photo(trained, folder, tmp_path):
    photo, mask = folder / "photos" / "cat.png", folder / "masks" / "cat.png"
    out = tmp_path / "o.png"
    result = run(photo, mask, "-o", out, f"--checkpoint={trained[1]}")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{out}\n", "")
    expected = Harmonizer.from_checkpoint(trained[1]).harmonize(Image.open(photo), Image.open(mask))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


def test_a_folder_with_a_failure(trained, folder, tmp_path):
    photos = shutil.copytree(folder / "photos", tmp_path / "photos")
    arguments = ("--images", photos, "--masks", folder / "masks", "-o", tmp_path / "out")
    result = run(*arguments, f"--checkpoint={trained[1]}")
    assert (result.returncode, result.stderr) == (0, "2 harmonized\n")
    (photos / "cow.png").write_bytes(b"no picture")
    (tmp_path / "out" / "dog.png").unlink()
    result = run(*arguments, f"--checkpoint={trained[1]}")
    assert result.returncode == 2
    assert result.stderr == (
        "1 harmonized, 1 were there already, 1 failed:\n"
        f"  {photos / 'cow.png'}: no mask: expected {folder / 'masks' / 'cow.png'}; there is "
        "cat.png, dog.png\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x"], "pass one photo, or a folder with --images"),
        (["a.png", "--images=b", "-o", "x"], "pass one photo, or a folder with --images"),
        (["a.png", "--masks=b", "-o", "x"], "--masks goes with --images"),
        (["a.png", "b.png"], "the following arguments are required: -o/--output"),
        (["a.png", "b.png", "c.png", "-o", "x"], "unrecognized arguments: c.png"),
        (["a.png", "b.png", "-o", "x", "--strength=3"], "--strength 3: expected 0 to 2"),
        (["a.png", "b.png", "-o", "x", "--max-megapixels=0"], "--max-megapixels 0: expected more"),
        (["a.png", "b.png", "-o", "x", "--quality=0"], "--quality 0: expected 1 to 100"),
        (["a.png", "b.png", "-o", "x", "--subsampling=4:1:1"], "invalid choice: '4:1:1'"),
        (["a.png", "b.png", "-o", "x", "--invert-masks=maybe"], "invalid choice: 'maybe'"),
        (["a.png", "b.png", "-o", "x"], "a.png: no such file or folder"),
        (["--images=gone", "-o", "x"], "--images gone: no such folder"),
        (["a.png", "b.png", "-o", "x", "--recursive"], "--recursive goes with --images"),
        (["a.png", "b.png", "-o", "x", "--mask-value=red"], "--mask-value red: expected a number"),
        (["a.png", "-o", "x", "--onto=b.png", "--at=5"], "at '5': expected X,Y in pixels"),
        (["a.png", "-o", "x", "--onto=b.png", "--gravity=up"], "invalid choice: 'up'"),
        (["a.png", "-o", "x", "--scale=2"], "--scale goes with --onto"),
        (["a.png", "b.png", "-o", "x.png", "--codec=h264"], "--codec is for video (--video, if"),
        (["--images=.", "-o", "x", "--video"], "--video goes with one clip"),
        (["a.mp4", "b.png", "-o", "x.mp4", "--onto=c.png"], "--onto is for photos, and a.mp4 is"),
        (["a.mp4", "b.png", "-o", "x.mp4", "--fps=0"], "--fps 0: expected frames a second"),
        (["a.mp4", "b.png", "-o", "x.mp4"], "a.mp4: no such file or folder"),
        ([*EXAMPLE, "-o", "x.png", "--checkpoint=hrnet"], "hrnet: no such file or folder, and no "),
        (["serve", "--port=many"], "argument --port: invalid int value: 'many'"),
        (["serve", "--port=99999"], "--port 99999: expected 0 to 65535"),
        (["serve", "--max-upload-mb=-1"], "--max-upload-mb -1: expected more than 0"),
    ],
)
def test_mistakes_are_one_line_and_status_1(arguments, message, monkeypatch):
    for name in (  # which change the process
        "signal.signal",
        "harmony_jax.command_line.log_to_terminal",
        "harmony_jax.photos.folders.expect_any_file",
        "harmony_jax.devices.compilation_cache.keep_compiled_programs",
    ):
        monkeypatch.setattr(name, lambda *_: None)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    text = str(stopped.value)  # which sys.exit prints, with status 1
    assert text.startswith("error: ")
    assert message in text
    assert "\n" not in text


def test_a_cutout_on_a_background(trained, folder, tmp_path):
    cut, mask = (Image.open(folder / name / "cat.png") for name in ("photos", "masks"))
    cut.putalpha(mask)
    cut.save(tmp_path / "cut.png")
    ground = folder / "photos" / "dog.png"
    arguments = ("--onto", ground, "--at=-4,12", "--scale=0.8", f"--checkpoint={trained[1]}")
    result = run(tmp_path / "cut.png", *arguments, "-o", tmp_path / "o.png")
    assert (result.returncode, result.stderr) == (0, "")
    harmonizer = Harmonizer.from_checkpoint(trained[1])
    expected = harmonizer.paste(cut, Image.open(ground), at=(-4, 12), scale=0.8)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "o.png")), expected)


@pytest.mark.parametrize(
    "moment",
    [
        "'PIL.Image' in sys.modules",
        "'jax' in sys.modules",
        "'harmony_jax.photos.folders' in sys.modules",
        "'harmony_jax.weights.saved_model' in sys.modules and threading.active_count() > 2",
        "'harmony_jax.web.server' in sys.modules",
    ],
)
def test_ctrl_c_ends_it_in_one_line_whatever_is_loaded(trained, folder, tmp_path, moment):
    what = ("--images", folder / "photos", "--masks", folder / "masks", "-o", tmp_path / "out")
    if "web" in moment:
        what = ("serve", "--port=0")
    check_interrupted(moment, *what, f"--checkpoint={trained[1]}")
    assert not list(tmp_path.rglob("*.tmp"))


def test_ctrl_c_leaves_nothing_of_a_clip(trained, tmp_path):
    frames = [frame_of(random_planes("yuv420p", RNG), "yuv420p") for _ in range(300)]
    clip = write_clip(tmp_path / "clip.mkv", frames)
    Image.fromarray(circle()).save(tmp_path / "mask.png")
    folder = tmp_path / "out"
    folder.mkdir()
    moment = f"any(p.stat().st_size > 9e4 for p in pathlib.Path({str(folder)!r}).iterdir())"
    arguments = (clip, tmp_path / "mask.png", "-o", folder / "o.mkv", f"--checkpoint={trained[1]}")
    message = "nothing is written, the same command begins again"
    check_interrupted(moment, *arguments, message=message)
    assert not list(folder.iterdir())


def check_interrupted(
    moment: str, *arguments: object, message: str = "the same command continues"
) -> None:
    """Runs the command until a condition holds, then sends it what Ctrl-C does."""
    code = f"""if True:
        import os, pathlib, signal, sys, threading, time
        def interrupt():
            while not ({moment}):
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        from harmony_jax.harmonize_command import main
        main(sys.argv[1:])
    """
    result = commands.run("-c", code, *arguments)
    assert result.returncode == 130
    assert result.stderr.strip() == f"stopped: {message}"
    assert not result.stdout
