import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harmony_jax.photos.pixel_budget import PixelBudget


def test_no_more_pixels_at_once_than_the_budget_but_for_a_single_picture():
    budget, lock = PixelBudget(100), threading.Lock()
    held, seen = 0, []

    def work(pixels: int) -> None:
        nonlocal held
        with budget.hold(pixels):
            with lock:
                held += pixels
                seen.append((held, pixels))
            threading.Event().wait(0.002)
            with lock:
                held -= pixels

    with pytest.raises(ValueError, match="no"), budget.hold(100):
        raise ValueError("no")  # which gives them back
    with budget.hold(60), pytest.raises(TimeoutError), budget.hold(50, seconds=0.01):
        pass
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, [30, 40, 60, 250, 10, 90, 50, 50, 20] * 4))
    assert len(seen) == 36
    assert all(total <= 100 or total == pixels for total, pixels in seen)
    assert max(total for total, pixels in seen if pixels < 100) > 60  # small ones share
