"""The page in headless Chromium: what a person would do, and what they get."""

import base64
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
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.interaction import POINTER_TOUCH
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from harmony_jax import Harmonizer
from tests.photos.files import photo_and_mask

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)

OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-quic", "--window-size=1300,900"),
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
def harmonizer(trained):
    """What the server works with."""
    return Harmonizer.from_checkpoint(trained[1])


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
    pixels = photo_and_mask(height, width)[0]
    Image.fromarray(pixels).save(path)
    return pixels


def element(page, name: str):
    return page.find_element(By.ID, name)


def wait(page, condition) -> None:
    WebDriverWait(page, 30).until(lambda _: condition())


def settle(page) -> None:
    time.sleep(0.05)
    wait(page, lambda: page.execute_script("return !busy"))


def choose(page, name: str, path: Path) -> None:
    element(page, name).send_keys(str(path))
    settle(page)


def click(page, name: str) -> None:
    element(page, name).click()
    settle(page)


def drag(page, target, right: int, down: int) -> None:
    ActionChains(page).drag_and_drop_by_offset(target, right, down).perform()


def slide(page, name: str, value: int) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.execute_script(script, element(page, name), value)


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


def test_upload_paint_harmonize_compare_download(page, downloads, tmp_path, harmonizer):
    pixels = write_photo(tmp_path / "lake.png", 300, 400)
    choose(page, "photo", tmp_path / "lake.png")
    assert element(page, "size").text == "400 \N{MULTIPLICATION SIGN} 300 pixels"
    assert not element(page, "download").is_enabled()
    paint(page)
    click(page, "save-mask")
    click(page, "harmonize")
    assert error(page) == ""
    assert element(page, "compare").is_displayed()
    shown = "return [...arguments[0].getContext('2d').getImageData(0, 0, 400, 300).data]"
    before, after = (
        page.execute_script(shown, element(page, name)) for name in ("compare-before", "after")
    )
    assert before != after
    slide(page, "split", 250)
    assert "25%" in element(page, "after").get_attribute("style")
    click(page, "tab-blend")
    assert page.execute_script("return arguments[0].naturalWidth", element(page, "blend-mask")) > 9
    click(page, "download")
    result = np.asarray(Image.open(downloaded(page, downloads, "lake_harmonized.png")))
    mask = np.asarray(Image.open(downloaded(page, downloads, "lake_mask.png")))[:, :, 0]
    assert 0.01 < (mask > 127).mean() < 0.5
    np.testing.assert_array_equal(result, harmonizer.harmonize(pixels, mask))
    assert (result != pixels).any()
    np.testing.assert_array_equal(result[mask == 0], pixels[mask == 0])


def test_a_mask_file_goes_as_it_is_until_it_is_painted_on(page, downloads, tmp_path, harmonizer):
    """The photo is larger than its preview, so a mask that went over the screen would differ."""
    write_photo(tmp_path / "wide.jpg", 800, 2400)
    pixels = np.asarray(Image.open(tmp_path / "wide.jpg"))
    mask = np.zeros((800, 2400), np.uint8)
    mask[200:601, 501:1302] = 255
    Image.fromarray(255 - mask).save(tmp_path / "inverted.png")
    choose(page, "photo", tmp_path / "wide.jpg")
    choose(page, "mask", tmp_path / "inverted.png")
    click(page, "invert")
    click(page, "harmonize")
    slide(page, "strength", 60)
    assert element(page, "strength-value").text == "60 %"
    click(page, "download")
    result = np.asarray(Image.open(downloaded(page, downloads, "wide_harmonized.png")))
    np.testing.assert_array_equal(result, harmonizer.harmonize(pixels, mask, strength=0.6))
    click(page, "tab-edit")
    paint(page)
    assert not element(page, "download").is_enabled()  # the result was of another mask


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


def test_an_alpha_channel_and_masks_of_another_size(page, tmp_path):
    pixels = write_photo(tmp_path / "a.png", 200, 300)
    alpha = np.zeros((200, 300), np.uint8)
    alpha[50:100, 50:150] = 255
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "cut.png")
    choose(page, "photo", tmp_path / "cut.png")
    assert "alpha channel is its mask" in element(page, "status").text
    click(page, "harmonize")
    assert error(page) == ""
    for size, is_resized in (((300, 200), False), ((150, 100), True)):
        mask = Image.new("L", size)
        mask.paste(255, (20, 20, 60, 60))
        mask.save(tmp_path / f"{size[0]}.png")
        choose(page, "mask", tmp_path / f"{size[0]}.png")
        assert ("the mask is resized" in element(page, "status").text) == is_resized


def test_bad_input_is_told(page, tmp_path):
    for name, data, message in (
        ("text.jpg", b"no picture", "text.jpg: not a picture"),
        ("empty.jpg", b"", "empty.jpg: the file is empty"),
        ("large.jpg", b"x" * 2_000_001, "large.jpg is larger than 2 MB"),
    ):
        (tmp_path / name).write_bytes(data)
        choose(page, "photo", tmp_path / name)
        assert error(page).startswith(message)
        assert not element(page, "harmonize").is_enabled()
    write_photo(tmp_path / "a.png", 200, 300)
    choose(page, "photo", tmp_path / "a.png")
    assert error(page) == ""
    choose(page, "cutout", tmp_path / "a.png")
    assert error(page).startswith("the cutout has no alpha channel")
    assert not element(page, "frame").is_displayed()
    click(page, "harmonize")
    assert error(page).startswith("the mask has no foreground")
    click(page, "invert")
    click(page, "harmonize")
    assert error(page).startswith("the mask has no background")


CUTOUT_BOX = (30, 20, 90, 60)  # left, top, width, height of what is not transparent


@pytest.fixture
def pasted(page, tmp_path):
    """A cutout on a photo, beach.png, on the page: both as pixels."""
    left, top, width, height = CUTOUT_BOX
    cutout = np.zeros((100, 140, 4), np.uint8)
    cutout[:, :, :3] = RNG.integers(0, 256, (100, 140, 3))
    cutout[top : top + height, left : left + width, 3] = 255
    Image.fromarray(cutout).save(tmp_path / "cut.png")
    ground = write_photo(tmp_path / "beach.png", 300, 400)
    choose(page, "photo", tmp_path / "beach.png")
    assert not element(page, "frame").is_displayed()
    choose(page, "cutout", tmp_path / "cut.png")
    return cutout, ground


def frame(page) -> np.ndarray:
    """Where the cutout is seen: left, top, width, height in the photo's pixels, which are 400."""
    script = """
        const f = document.getElementById("frame").getBoundingClientRect();
        const p = document.getElementById("before").getBoundingClientRect();
        return [f.left - p.left, f.top - p.top, f.width, f.height].map(v => v * 400 / p.width)
    """
    return np.array(page.execute_script(script))


def screen_pixels(page) -> float:
    """How many of the photo's pixels one of the screen is."""
    return 400 / page.execute_script("return document.getElementById('before').clientWidth")


def check_download(page, folder: Path, name: str, harmonizer, pasted) -> None:
    """The file is what `Harmonizer.paste` makes of a cutout that lies where it was seen."""
    cutout, ground = pasted
    left, top, width, _ = frame(page)
    scale = width / CUTOUT_BOX[2]
    at = tuple(
        round(side - own * scale) for side, own in zip((left, top), CUTOUT_BOX[:2], strict=True)
    )
    click(page, "harmonize")
    assert error(page) == ""
    click(page, "download")
    result = np.asarray(Image.open(downloaded(page, folder, name)))
    places = [(at[0] + x, at[1] + y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    expected = [harmonizer.paste(cutout, ground, at=place, scale=scale) for place in places]
    assert min(np.abs(result.astype(int) - other).mean() for other in expected) < 1
    outside = np.ones(ground.shape[:2], bool)
    x, y = (max(0, round(side) - 3) for side in (left, top))
    outside[y : y + round(60 * scale) + 6, x : x + round(90 * scale) + 6] = False
    np.testing.assert_array_equal(result[outside], ground[outside])
    assert (result[~outside] != ground[~outside]).mean() > 0.5


def test_a_cutout_is_placed_with_the_mouse(page, pasted, downloads, harmonizer):
    np.testing.assert_allclose(frame(page), (155, 120, 90, 60), atol=1)  # its own size, centred
    assert not element(page, "clear").is_enabled()
    scale = screen_pixels(page)
    drag(page, element(page, "frame"), 60, -30)
    moved = np.array((155 + 60 * scale, 120 - 30 * scale, 90, 60))
    np.testing.assert_allclose(frame(page), moved, atol=1.5)
    corner = page.find_element(By.CSS_SELECTOR, "#frame [data-corner='left bottom']")
    drag(page, corner, -60, 40)
    left, top, width, height = frame(page)
    np.testing.assert_allclose((left + width, top), (moved[0] + 90, moved[1]), atol=1.5)
    assert width > 100
    assert width / height == pytest.approx(1.5, abs=0.05)
    check_download(page, downloads, "beach_harmonized.png", harmonizer, pasted)
    click(page, "tab-edit")
    drag(page, element(page, "frame"), 20, 20)
    assert not element(page, "download").is_enabled()  # of where it was
    click(page, "take-off")
    assert not element(page, "frame").is_displayed()
    click(page, "harmonize")
    assert error(page).startswith("the mask has no foreground")


def test_keys_wheel_and_slider_place_a_cutout(page, pasted):
    before = frame(page)
    page.execute_script("document.getElementById('frame').focus()")
    ActionChains(page).send_keys("\ue014\ue014\ue015").perform()  # right twice, down
    np.testing.assert_allclose(frame(page), np.add(before, (2, 1, 0, 0)), atol=0.1)
    ActionChains(page).send_keys("+").perform()
    assert frame(page)[2] == pytest.approx(90 * 1.02, abs=0.1)
    slide(page, "cutout-size", 100)
    assert frame(page)[2] == pytest.approx(180, abs=0.5)
    page.execute_script(
        "const f = document.getElementById('frame');"
        "f.dispatchEvent(new WheelEvent('wheel', {deltaY: 100, cancelable: true}))"
    )
    assert frame(page)[2] == pytest.approx(180 * 1.002**-100, abs=0.5)


def test_a_cutout_is_dropped_on_the_photo(page, pasted, tmp_path):
    """A picture without transparency is another photo."""
    write_photo(tmp_path / "b.png", 200, 300)

    def drop(path: Path) -> None:
        page.execute_script(
            """
            const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], arguments[1]));
            const options = { dataTransfer: data, bubbles: true, cancelable: true };
            document.querySelector(".view").dispatchEvent(new DragEvent("drop", options));
            """,
            base64.b64encode(path.read_bytes()).decode(),
            path.name,
        )

    drop(tmp_path / "b.png")
    wait(page, lambda: element(page, "size").text.startswith("300"))
    settle(page)
    assert not element(page, "frame").is_displayed()
    drop(tmp_path / "cut.png")
    wait(page, lambda: element(page, "frame").is_displayed())
    settle(page)
    assert element(page, "size").text.startswith("300")


@pytest.fixture
def phone(browser):
    """A screen of 390 x 844 that is touched."""
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    yield
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def touch(page, *ways: tuple[int, int, int, int]) -> None:
    """Fingers that go at the same time, each from a point to a point of the screen."""
    actions = ActionBuilder(page)
    actions.devices = []
    for number, (x, y, right, down) in enumerate(ways):
        finger = PointerInput(POINTER_TOUCH, f"finger {number}")
        actions.devices.append(finger)
        finger.create_pointer_move(0, x, y)
        finger.create_pointer_down(button=0)
        finger.create_pointer_move(300, x + right, y + down)
        finger.create_pointer_up(0)
    actions.perform()


def test_a_cutout_is_placed_with_fingers_on_a_phone(phone, page, pasted):
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    page.execute_script("document.getElementById('edit').scrollIntoView({block: 'center'})")
    time.sleep(0.1)
    middle = page.execute_script(
        "const f = document.getElementById('frame').getBoundingClientRect();"
        "return [f.left + f.width / 2, f.top + f.height / 2].map(Math.round)"
    )
    before, scale = frame(page), screen_pixels(page)
    moved = (-50 * scale, 40 * scale, 0, 0)
    touch(page, (*middle, -50, 40))
    np.testing.assert_allclose(frame(page), np.add(before, moved), atol=3)
    x, y = middle[0] - 50, middle[1] + 40
    touch(page, (x - 10, y, -25, 0), (x + 10, y, 25, 0))
    _, _, width, height = frame(page)
    assert 2 < width / 90 < 4.5  # 20 pixels between the fingers became 70
    assert width / height == pytest.approx(1.5, abs=0.05)
    assert page.execute_script("return window.visualViewport.scale") == 1  # the page is not sized
    click(page, "harmonize")
    assert error(page) == ""


def test_a_clip_is_looked_at_and_downloaded(browser, server, downloads, tmp_path):
    av = pytest.importorskip("av")
    from tests.video.made import frame_of, mask_clip, write_clip

    browser.get(f"{server}/video")
    rng = np.random.default_rng(0)
    planes = [rng.integers(40, 200, (96 // size, 128 // size)) for size in (1, 2, 2)]
    frames = [frame_of([p.astype(np.uint8) for p in planes], "yuv420p") for _ in range(6)]
    mask = np.zeros((96, 128), np.uint8)
    mask[30:70, 40:90] = 255
    clip = write_clip(tmp_path / "walk.mkv", frames)
    assert not element(browser, "preview").is_enabled()
    choose(browser, "clip", clip)
    choose(browser, "mask", mask_clip(tmp_path / "masks.mkv", [mask] * 6))
    click(browser, "preview")
    assert error(browser) == ""
    assert element(browser, "compare").is_displayed()
    assert element(browser, "frame-value").text == "1 of 6"
    slide(browser, "frame-number", 5)
    assert element(browser, "frame-value").text == "6 of 6"
    element(browser, "ending").send_keys("MKV")
    click(browser, "download")
    assert error(browser) == ""
    with av.open(str(downloaded(browser, downloads, "walk_harmonized.mkv"))) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
    (tmp_path / "no.mp4").write_bytes(b"no video" * 100)
    choose(browser, "clip", tmp_path / "no.mp4")
    click(browser, "preview")
    assert "no.mp4: cannot be read as a video" in error(browser)
