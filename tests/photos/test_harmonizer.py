import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from harmony_jax import Harmonizer, InputError, denormalize, normalize
from harmony_jax.photos.arguments import checked_strength
from harmony_jax.weights.saved_model import load_model
from tests.photos.files import noise, photo_and_mask


@pytest.fixture(scope="module")
def model(trained):
    return load_model(trained[1])[0]


def answer(model, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the network makes of a picture of its size."""
    foreground = jnp.array(mask > 100, jnp.float32)[None, ..., None]
    output = model(normalize(jnp.asarray(image))[None], foreground)
    return np.clip(denormalize(output.image[0]), 0, 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(32, 32), (75, 41), (700, 333), (3, 600)])
def test_photos_keep_size_type_and_background(harmonizer, size, dtype):
    image, mask = photo_and_mask(*size, dtype)
    before = image.copy()
    harmonized = harmonizer.harmonize(image, mask)
    assert harmonized.shape == image.shape
    assert harmonized.dtype == dtype
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(harmonized[mask == 0], image[mask == 0])
    assert (harmonized[mask == 255] != image[mask == 255]).any()


def test_at_the_network_size_a_strong_change_is_the_networks(tinting):
    """But in shadows, and where the mask is soft."""
    image, mask = photo_and_mask(32, 32)
    expected = np.clip(0.7 * image + np.array([70, 10, -15]), 0, 255)
    result = tinting.harmonize(image, mask).astype(float)
    inside = (mask == 255) & (image.mean(-1) > 51)
    change = np.abs(expected - image)[inside].mean()
    assert np.abs(result - expected)[inside].mean() < 0.25 * change


def test_the_mirror_image_is_averaged_in(model):
    image, mask = photo_and_mask(32, 32)
    both = Harmonizer(model, 32).harmonize(image, mask).astype(int)
    mirrored = Harmonizer(model, 32).harmonize(image[:, ::-1], mask[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(mirrored, both, atol=1)
    one = Harmonizer(model, 32, mirror=False)
    assert np.abs(one.harmonize(image, mask) - both).max() > 1
    (frame,) = Harmonizer(model, 32).harmonize_video([image], [mask])
    np.testing.assert_array_equal(frame, one.harmonize(image, mask))


def test_a_resolution_in_numbers_is_the_networks_own_answer(harmonizer, model):
    image, mask = photo_and_mask(90, 120)
    for side in (32, 64):
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
        small_mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)
        expected = answer(model, small, small_mask)
        result = harmonizer.harmonize(image, mask, resolution=side)
        assert result.dtype == np.uint8
        np.testing.assert_allclose(result, expected, atol=0.51)


def test_soft_masks_and_strength_mix_the_change_in(tinting):
    image, mask = photo_and_mask(64, 64)
    image[:] = 120
    whole = tinting.harmonize(image, mask).astype(float) - image
    assert np.abs(whole).max() > 20
    for strength in (0.5, 1.5):
        result = tinting.harmonize(image, mask, strength=strength).astype(float) - image
        np.testing.assert_allclose(result, strength * whole, atol=1.01)
    np.testing.assert_array_equal(tinting.harmonize(image, mask, strength=0.0), image)
    soft = mask // 2
    softly = tinting.harmonize(image, soft).astype(float) - image
    np.testing.assert_allclose(softly, whole / 2, atol=1.5)


def test_all_kinds_of_arrays_give_the_same(harmonizer):
    image, mask = photo_and_mask(50, 60)
    expected = harmonizer.harmonize(image, mask)
    assert type(expected) is np.ndarray
    images = [image, jnp.asarray(image), Image.fromarray(image), image[:, ::-1][:, ::-1]]
    masks = [
        mask,
        jnp.asarray(mask),
        Image.fromarray(mask),
        mask > 0,
        (mask / 255).astype(np.float32),
        mask.astype(np.uint16) * 257,
        jnp.asarray(mask / 255, jnp.bfloat16),
        mask[:, :, None],
        np.repeat(mask[:, :, None], 3, 2),
    ]
    for photo in images:
        np.testing.assert_array_equal(harmonizer.harmonize(photo, mask), expected)
    for other in masks:
        np.testing.assert_array_equal(harmonizer.harmonize(image, other), expected)
    grey = Image.fromarray(image).convert("L")
    expected = harmonizer.harmonize(np.asarray(grey.convert("RGB")), mask)
    np.testing.assert_array_equal(harmonizer.harmonize(grey, mask), expected)


def test_an_alpha_channel_is_the_mask_of_a_photo_without_one(harmonizer):
    image, mask = photo_and_mask(50, 60)
    expected = harmonizer.harmonize(image, mask)
    cutout = np.dstack([image, mask])
    np.testing.assert_array_equal(harmonizer.harmonize(cutout), expected)
    np.testing.assert_array_equal(harmonizer.harmonize(Image.fromarray(cutout)), expected)
    with pytest.raises(InputError, match="no mask, and no alpha channel"):
        harmonizer.harmonize(image)


def test_lists_of_differently_sized_photos_and_batches(harmonizer):
    pairs = [photo_and_mask(*size) for size in ((40, 40), (90, 30), (33, 64), (40, 40), (51, 52))]
    images, masks = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    results = harmonizer.harmonize(images, masks)
    assert [result.shape for result in results] == [image.shape for image in images]
    for (image, mask), result in zip(pairs, results, strict=True):
        alone = harmonizer.harmonize(image, mask)
        assert np.abs(result.astype(int) - alone).max() <= 1  # rounding
    batch = harmonizer.harmonize(np.stack([images[0], images[3]]), np.stack([masks[0], masks[3]]))
    assert len(batch) == 2
    np.testing.assert_allclose(batch[1], results[3], atol=1)
    assert harmonizer.harmonize([], []) == []


def test_threads_share_one_compilation_whatever_the_sizes(trained, monkeypatch):
    compilations = []
    compile_lowered = jax.stages.Lowered.compile

    def counted(self, *arguments, **options):
        compilations.append(self)
        return compile_lowered(self, *arguments, **options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", counted)
    harmonizer = Harmonizer.from_checkpoint(trained[1])
    sizes = [(40, 40), (90, 30), (600, 700), (33, 64), (50, 50), (31, 33)]
    pairs = [photo_and_mask(*size) for size in sizes]
    start = threading.Barrier(len(pairs))

    def run(pair):
        start.wait()
        return harmonizer.harmonize(*pair)

    with ThreadPoolExecutor(len(pairs)) as executor:
        results = list(executor.map(run, pairs))
    assert len(compilations) == 2  # the network with its transform, and the tile
    for pair, result in zip(pairs, results, strict=True):
        np.testing.assert_array_equal(result, harmonizer.harmonize(*pair))
    harmonizer.harmonize([pair[0] for pair in pairs], [pair[1] for pair in pairs])  # 4 + 2
    assert len(compilations) == 4


def test_a_mask_of_another_size_is_resized_with_a_warning(harmonizer):
    image, mask = photo_and_mask(60, 80)
    with pytest.warns(UserWarning, match="mask is 40 x 30, the image 80 x 60"):
        result = harmonizer.harmonize(image, mask[::2, ::2])
    np.testing.assert_array_equal(result[:10], image[:10])
    assert (result[20:40, 30:50] != image[20:40, 30:50]).any()


SQUARE = photo_and_mask(8, 8)
TINY = photo_and_mask(400, 400)[0], np.zeros((400, 400), np.uint8)
TINY[1][201, 201] = 255


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.zeros((8, 8), np.uint8), SQUARE[1], r"image uint8 \(8, 8\)"),
        (np.zeros((8, 8, 3)), SQUARE[1], "image float64"),
        (np.zeros((0, 8, 3), np.uint8), SQUARE[1], "image of 8 x 0 pixels"),
        (SQUARE[0], np.full((8, 8), 100, np.uint8), "largest value is 100"),
        (SQUARE[0], np.full((8, 8), 255, np.uint8), "no background to fit to"),
        (SQUARE[0], SQUARE[1].astype(np.int32), "mask int32"),
        (Image.new("RGB", (0, 8)), SQUARE[1], "image of 0 x 8 pixels"),
        (SQUARE[0], SQUARE[1].astype(np.float32), "mask float32 from 0 to 255"),
        (SQUARE[0], np.zeros((8, 8, 2), np.uint8), r"mask uint8 \(8, 8, 2\)"),
        ([SQUARE[0]] * 2, [SQUARE[1], SQUARE[1] * 0], "image 1: the mask has no foreground"),
        ([SQUARE[0]] * 2, [SQUARE[1]], "2 images and 1 masks"),
        ([SQUARE[0]] * 2, SQUARE[1], "2 images and one mask"),
        ([SQUARE[0]] * 2, Image.fromarray(SQUARE[1]), "2 images and one mask"),
        (SQUARE[0], [SQUARE[1]] * 2, "one image and a list of 2 masks"),
        (*TINY, r"too small \(1 pixels.*32 x 32\)"),
        (np.zeros((1, 1, 3), np.uint8), np.full((1, 1), 255, np.uint8), "1 x 1 pixels: too small"),
    ],
)
def test_arrays_that_do_not_fit(harmonizer, image, mask, message):
    with pytest.raises(InputError, match=message):
        harmonizer.harmonize(image, mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 0}, "resolution 0"),
        ({"resolution": 33}, r"33x33|33 x 33"),
        *(({"strength": x}, "strength .* 0 to 2") for x in (2.5, np.nan, -0.1)),
    ],
)
def test_invalid_options(harmonizer, options, message):
    with pytest.raises(InputError, match=message):
        harmonizer.harmonize(*SQUARE, **options)
    with pytest.raises(InputError, match=r"strength '1': .* 0 to 2"):
        checked_strength("1")


def test_pictures_as_masks(harmonizer):
    image, mask = photo_and_mask(50, 60)
    expected = harmonizer.harmonize(image, mask)
    red = np.zeros((50, 60, 3), np.uint8)
    red[mask > 0] = (128, 0, 0)
    hidden = noise(50, 60, 3)
    for picture in (red, Image.fromarray(red), np.dstack([hidden, mask])):
        np.testing.assert_array_equal(harmonizer.harmonize(image, picture), expected)
    with pytest.raises(InputError, match=r"mask has [23],\d{3} colours"):
        harmonizer.harmonize(mask[:, :, None].repeat(3, 2), hidden)
    with pytest.raises(InputError, match="mask is 50 x 60, the photo 60 x 50"):
        harmonizer.harmonize(image, mask.T)
    red[:10, :10] = (0, 128, 0)
    with pytest.warns(UserWarning, match="mask: has 2 values besides its background 0,0,0"):
        harmonizer.harmonize(image, red)


def test_what_transparency_hides_changes_nothing_that_is_seen(harmonizer):
    image, mask = photo_and_mask(64, 64)
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[:40, :24] = 0
    results = []
    for hidden in (0, 255):
        image[alpha == 0] = hidden
        results.append(harmonizer.harmonize(np.dstack([image, alpha]), mask))
        background = mask == 0
        np.testing.assert_array_equal(results[-1][background], image[background])
    np.testing.assert_array_equal(results[0][alpha > 0], results[1][alpha > 0])


def test_a_cutout_is_pasted_and_harmonized(harmonizer):
    ground = photo_and_mask(60, 80)[0]
    cut, mask = photo_and_mask(20, 30)
    mask[:3] = 0
    composite, placed = ground.copy(), np.zeros((60, 80), np.uint8)
    placed[30:50, 12:42] = mask
    composite[placed > 0] = cut[mask > 0]
    expected = harmonizer.harmonize(composite, placed)
    found = harmonizer.paste(np.dstack([cut, mask]), ground, at=(12, 30))
    np.testing.assert_array_equal(found, expected)
    assert (found != composite).any()
    np.testing.assert_array_equal(found[placed == 0], ground[placed == 0])
    other = harmonizer.paste(Image.fromarray(cut), Image.fromarray(ground), mask=mask, at=(12, 30))
    np.testing.assert_array_equal(other, expected)
    plain = harmonizer.paste(np.dstack([cut, mask]), ground, at=(12, 30), strength=0.0)
    np.testing.assert_array_equal(plain, composite)
