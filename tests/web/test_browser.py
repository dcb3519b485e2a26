"""The page in headless Chromium: what a person would do, and what they get."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from harmony_jax import Harmonizer

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--window-size=1300,900",
)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    """The address of a running `harmonize serve`, which is then asked to end."""
    folder = tmp_path_factory.mktemp("temporary")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "harmony_jax.harmonize_command", "serve", "--port=0"),
            *("--max-upload-mb=2", f"--checkpoint={trained[1]}"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    line = process.stdout.readline()
    yield re.search(r"http://127\.0\.0\.1:\d+", line)[0]
    process.terminate()
    assert process.wait(20) == 0
    process.stdout.close()
    assert not list(folder.iterdir())


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in OPTIONS:
        options.add_argument(option)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, server):
    browser.get(server)
    yield browser
    # Nothing was blocked, nothing failed that the page does not show.
    assert [e for e in browser.get_log("browser") if "status of 4" not in e["message"]] == []


def write_photo(path: Path, height: int, width: int) -> np.ndarray:
    low = RNG.integers(40, 216, (6, 6, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC))
    Image.fromarray(pixels).save(path)
    return pixels


def element(page, name: str):
    return page.find_element(By.ID, name)


def wait(page, condition) -> None:
    WebDriverWait(page, 30).until(lambda _: condition())


def settled(page) -> None:
    wait(page, lambda: page.execute_script("return !busy"))


def choose(page, name: str, path: Path) -> None:
    element(page, name).send_keys(str(path))
    time.sleep(0.05)
    settled(page)


def click(page, name: str) -> None:
    element(page, name).click()
    time.sleep(0.05)
    settled(page)


def downloaded(page, folder: Path, name: str) -> Path:
    wait(page, lambda: (folder / name).exists())
    return folder / name


def paint(page) -> None:
    overlay = element(page, "overlay")
    stroke = ActionChains(page).move_to_element_with_offset(overlay, -100, -50).click_and_hold()
    stroke.move_by_offset(150, 60).move_by_offset(-40, 40).release().perform()


def error(page) -> str:
    found = element(page, "error")
    return found.text if found.is_displayed() else ""


def test_upload_paint_harmonize_download(page, downloads, tmp_path, trained):
    pixels = write_photo(tmp_path / "lake.png", 300, 400)
    choose(page, "photo", tmp_path / "lake.png")
    assert element(page, "size").text == "400 \N{MULTIPLICATION SIGN} 300 pixels"
    assert not element(page, "download").is_enabled()
    paint(page)
    click(page, "save-mask")
    click(page, "harmonize")
    assert error(page) == ""
    assert element(page, "compare").is_displayed()
    click(page, "download")
    result = np.asarray(Image.open(downloaded(page, downloads, "lake_harmonized.png")))
    mask = np.asarray(Image.open(downloaded(page, downloads, "lake_mask.png")))[:, :, 0]
    assert 0.01 < (mask > 127).mean() < 0.5
    harmonizer = Harmonizer.from_checkpoint(trained[1])
    np.testing.assert_array_equal(result, harmonizer.harmonize(pixels, mask))
    assert (result != pixels).any()
    np.testing.assert_array_equal(result[mask == 0], pixels[mask == 0])


def test_a_mask_file_goes_as_it_is_until_it_is_painted_on(page, downloads, tmp_path, trained):
    """The photo is larger than its preview, so a mask that went over the screen would differ."""
    pixels = write_photo(tmp_path / "wide.jpg", 800, 2400)
    pixels = np.asarray(Image.open(tmp_path / "wide.jpg"))
    mask = np.zeros((800, 2400), np.uint8)
    mask[200:601, 501:1302] = 255
    Image.fromarray(255 - mask).save(tmp_path / "inverted.png")
    choose(page, "photo", tmp_path / "wide.jpg")
    choose(page, "mask", tmp_path / "inverted.png")
    click(page, "invert")
    click(page, "harmonize")
    page.execute_script(
        "const s = document.getElementById('strength'); s.value = 60;"
        "s.dispatchEvent(new Event('input'))"
    )
    assert element(page, "strength-value").text == "60 %"
    click(page, "download")
    result = np.asarray(Image.open(downloaded(page, downloads, "wide_harmonized.png")))
    harmonizer = Harmonizer.from_checkpoint(trained[1])
    np.testing.assert_array_equal(result, harmonizer.harmonize(pixels, mask, strength=0.6))
    click(page, "tab-edit")
    paint(page)
    assert not element(page, "download").is_enabled()  # the result was of another mask


def test_before_after_and_blend_mask_are_shown(page, tmp_path):
    write_photo(tmp_path / "a.png", 200, 300)
    choose(page, "photo", tmp_path / "a.png")
    paint(page)
    click(page, "harmonize")
    pixels = "return [...arguments[0].getContext('2d').getImageData(0, 0, 300, 200).data]"
    before, after = (
        np.array(page.execute_script(pixels, element(page, name)))
        for name in ("compare-before", "after")
    )
    assert (before != after).any()
    page.execute_script(
        "const s = document.getElementById('split'); s.value = 250;"
        "s.dispatchEvent(new Event('input'))"
    )
    assert "25%" in element(page, "after").get_attribute("style")
    click(page, "tab-blend")
    assert element(page, "blend").is_displayed()
    assert page.execute_script("return arguments[0].naturalWidth", element(page, "blend-mask")) > 9


def test_undo_clear_and_erase(page, tmp_path):
    write_photo(tmp_path / "a.png", 200, 300)
    choose(page, "photo", tmp_path / "a.png")

    def painted() -> int:
        return page.execute_script(
            "return pen.getImageData(0, 0, 300, 200).data"
            ".filter((value, index) => index % 4 == 3 && value > 99).length"
        )

    paint(page)
    whole = painted()
    assert whole > 100
    page.find_element(By.CSS_SELECTOR, "input[value=erase]").click()
    paint(page)
    assert painted() == 0
    click(page, "undo")
    assert painted() == whole
    click(page, "clear")
    assert painted() == 0
    click(page, "undo")
    click(page, "invert")
    assert painted() > 300 * 200 - whole


def test_an_alpha_channel_becomes_the_mask(page, tmp_path):
    pixels = write_photo(tmp_path / "a.png", 200, 300)
    alpha = np.zeros((200, 300), np.uint8)
    alpha[50:100, 50:150] = 255
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "cut.png")
    choose(page, "photo", tmp_path / "cut.png")
    assert "alpha channel is its mask" in element(page, "status").text
    click(page, "harmonize")
    assert error(page) == ""


def test_a_mask_of_another_size_is_told(page, tmp_path):
    write_photo(tmp_path / "a.png", 200, 300)
    choose(page, "photo", tmp_path / "a.png")
    for size in ((300, 200), (150, 100)):
        mask = Image.new("L", size)
        mask.paste(255, (20, 20, 60, 60))
        path = tmp_path / f"{size[0]}.png"
        mask.save(path)
        choose(page, "mask", path)
        assert ("the mask is resized" in element(page, "status").text) == (size == (150, 100))


def test_bad_input_is_told(page, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    choose(page, "photo", tmp_path / "text.jpg")
    assert error(page).startswith("text.jpg: not a picture, or a damaged one: expected JPEG")
    (tmp_path / "empty.jpg").write_bytes(b"")
    choose(page, "photo", tmp_path / "empty.jpg")
    assert error(page) == "empty.jpg: the file is empty: choose another"
    (tmp_path / "large.jpg").write_bytes(b"x" * 2_000_001)
    choose(page, "photo", tmp_path / "large.jpg")
    assert error(page) == "large.jpg is larger than 2 MB: make it smaller"
    assert not element(page, "harmonize").is_enabled()
    write_photo(tmp_path / "a.png", 200, 300)
    choose(page, "photo", tmp_path / "a.png")
    assert error(page) == ""
    click(page, "harmonize")
    assert error(page).startswith("the mask has no foreground")
    click(page, "invert")
    click(page, "harmonize")
    assert error(page).startswith("the mask has no background to fit to")
