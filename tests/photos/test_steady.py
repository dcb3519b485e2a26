"""Transforms averaged over time, against closed forms."""

import numpy as np
import pytest

from harmony_jax.errors import InputError
from harmony_jax.photos.steady import (
    Small,
    Steadiness,
    check_steadiness,
    reach_of,
    steady_transforms,
)

SIZE = 32


class Frame:
    def __init__(self, number: int, mask: np.ndarray, color: int = 100):
        self.number, self.mask = number, mask
        self.seen = np.full((SIZE, SIZE, 3), color, np.uint8)
        self.seen[..., 2] = number % 4  # the network's answer is known by it

    def small(self, size: int) -> Small:
        assert size == SIZE
        return Small(self.seen, self.mask, reach_of(self.mask))


def square(top: int = 8, left: int = 8, side: int = 12) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


class Network:
    """Answers each frame with a constant, of which it keeps count."""

    def __init__(self, answers: np.ndarray):
        self.answers, self.asked = answers, 0

    def __call__(self, seen: np.ndarray, masks: np.ndarray) -> np.ndarray:
        found = [self.answers[self.asked + i] for i in range(min(len(seen), self.left()))]
        self.asked += len(seen)
        found += [0] * (len(seen) - len(found))
        ones = np.ones((12, SIZE, SIZE), np.float32)
        return np.stack([np.float32(value) * ones for value in found])

    def left(self) -> int:
        return len(self.answers) - self.asked


def values(frames: list[Frame], answers: np.ndarray, steadiness: Steadiness) -> list[float | None]:
    """One number of each frame's transform, in the middle of its mask."""
    found = []
    given = []
    for frame, transform in steady_transforms(frames, SIZE, Network(answers), steadiness):
        given.append(frame)
        if transform is None:
            found.append(None)
        else:
            rows, columns = np.nonzero(frame.mask)
            inside = transform[5, rows, columns]
            np.testing.assert_allclose(inside, inside[0], rtol=1e-4, atol=1e-5)
            found.append(float(inside[0]))
    assert given == frames
    return found


def test_a_gaussian_in_time():
    answers = np.random.default_rng(0).normal(size=40)
    frames = [Frame(0, square()) for _ in answers]
    found = values(frames, answers, Steadiness(smoothing=3.0))
    places = np.arange(len(answers))
    for number, value in enumerate(found):
        weight = np.exp(-0.5 * ((places - number) / 3) ** 2) * (np.abs(places - number) <= 8)
        assert value == pytest.approx((weight @ answers) / weight.sum(), abs=1e-4)


def test_without_smoothing_each_has_its_own():
    answers = np.random.default_rng(0).normal(size=11)
    frames = [Frame(0, square(left=n)) for n in range(len(answers))]
    assert values(frames, answers, Steadiness(smoothing=0.0)) == pytest.approx(answers)


def test_between_frames_that_the_network_sees():
    """A change in time that is linear stays so, but for the ends."""
    frames = [Frame(0, square()) for _ in range(41)]
    answers = np.arange(0, 41, 8, dtype=np.float64)
    found = values(frames, answers, Steadiness(smoothing=0.0, every=8))
    assert np.abs(np.array(found[12:29]) - np.arange(12, 29)).max() < 1.5
    assert np.abs(np.diff(found)).max() < 1.6


def test_scenes_are_not_mixed():
    """Nor are frames whose colours differ much: a light that is switched on."""
    frames = [Frame(0, square(), color) for color in [60] * 9 + [180] * 9]
    for every in (1, 5):
        count = len(range(0, 9, every))
        answers = np.array([1.0] * count + [5.0] * count)
        found = values(frames, answers, Steadiness(4.0, every))
        assert found == pytest.approx([1.0] * 9 + [5.0] * 9, abs=1e-4)
    frames = [Frame(0, square(), color) for color in [100] * 9 + [108] * 9]
    found = values(frames, np.array([1.0] * 9 + [5.0] * 9), Steadiness(4.0))
    assert 1.1 < found[8] < 2.9  # 8 levels are no change of scene


def test_the_transform_moves_with_the_foreground():
    masks = [square(left=2 * n) for n in range(8)]

    def fit(seen: np.ndarray, given: np.ndarray) -> np.ndarray:
        """By columns from the mask's left border."""
        starts = [int(np.nonzero(mask.any(0))[0][0]) for mask in given]
        rows = [np.arange(SIZE) - start for start in starts]
        return np.stack([np.tile(np.float32(row), (12, SIZE, 1)) for row in rows])

    frames = [Frame(0, mask) for mask in masks]
    for number, (_, transform) in enumerate(
        steady_transforms(frames, SIZE, fit, Steadiness(smoothing=3.0))
    ):
        inside = transform[0, 10, 2 * number : 2 * number + 12]
        np.testing.assert_allclose(inside, np.arange(12), atol=1e-3)


def test_frames_without_foreground_or_background():
    masks = [square(), np.zeros((SIZE, SIZE), np.uint8), np.full((SIZE, SIZE), 255, np.uint8)]
    frames = [Frame(0, masks[n]) for n in (0, 1, 2, 0, 1)]
    found = values(frames, np.array([2.0, 2.0]), Steadiness(smoothing=3.0))
    assert found[1] is None
    assert found[4] is None
    assert [found[n] for n in (0, 2, 3)] == pytest.approx([2.0] * 3)  # the third by its neighbours
    nothing = [Frame(0, masks[1])] * 3
    assert values(nothing, np.zeros(0), Steadiness()) == [None] * 3


@pytest.mark.parametrize("steadiness", [Steadiness(3.0), Steadiness(3.0, 10), Steadiness(0.0)])
@pytest.mark.parametrize("rare", [False, True])
def test_few_frames_are_in_memory(steadiness, rare):
    waiting = most = 0

    def frames():
        nonlocal waiting, most
        for number in range(200):
            waiting += 1
            most = max(most, waiting)
            visible = number < 3 or not rare
            yield Frame(0, square() if visible else np.zeros((SIZE, SIZE), np.uint8))

    answers = np.zeros(400)
    for _ in steady_transforms(frames(), SIZE, Network(answers), steadiness):
        waiting -= 1
    assert waiting == 0
    assert most <= 40


def test_numbers_that_cannot_be():
    for steadiness, message in (
        (Steadiness(-1.0), "smoothing -1.0: expected 0 to 100 frames"),
        (Steadiness(every=0), "every 0: expected 1 to 100 frames"),
    ):
        with pytest.raises(InputError, match=message):
            check_steadiness(steadiness)
