import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from harmony_jax.data.evaluation_data import EvaluationData, Sizing
from tests.made_data import Numbers

SIZES = [(40, 60), (64, 64), (30, 100), (40, 60), (61, 33)]


class Sized(Numbers):
    """Samples of different sizes; sample i has the value i + 1 everywhere."""

    def __len__(self) -> int:
        return len(SIZES)

    def __getitem__(self, index: int):
        value = super().__getitem__(index)["mask"][0, 0] + 1
        photo = np.full((*SIZES[index], 3), value, np.uint8)
        return {"composite": photo, "real": photo, "mask": photo[..., 0]}


def rows(sizing: Sizing, source, processes: int = 1, batch_size: int = 4) -> dict[int, dict]:
    """What each sample's row holds, over all batches and processes."""
    parts = [
        EvaluationData(source, sizing, batch_size, 0, None, (number, processes))
        for number in range(processes)
    ]
    found: dict[int, dict] = {}
    for number, batches in enumerate(zip(*(part.batches for part in parts), strict=True)):
        batch = {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}
        assert len(batch["mask"]) == batch_size
        for row, index in enumerate(parts[0].indices(number)):
            if index >= 0:
                assert index not in found
                found[index] = {key: array[row] for key, array in batch.items()}
    for part in parts:
        part.batches.close()
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_every_sample_once_at_its_size_on_any_number_of_processes(processes):
    square, longest, whole = (
        rows(Sizing(resize, 16, 50, 32), Sized(), processes)
        for resize in ("square", "longest", "none")
    )
    for found in (square, longest, whole):
        assert sorted(found) == list(range(len(SIZES)))
        for index, row in found.items():
            assert row["composite"].max() == index + 1
            assert row["readable"]
    assert {row["mask"].shape for row in square.values()} == {(16, 16)}
    assert "extent" not in square[0]
    assert longest[0]["extent"].tolist() == [15, 7, 33, 50]  # 40x60 to 33x50 in 64x64
    assert longest[2]["extent"].tolist() == [8, 7, 15, 50]  # 30x100 to 15x50 in 32x64
    for index, row in whole.items():
        top, left, height, width = row["extent"].tolist()
        assert (height, width) == SIZES[index]
        inside = row["real"][top : top + height, left : left + width]
        assert (inside == index + 1).all()
        assert int(row["real"].sum()) == int(inside.sum())  # black around it
        assert row["real"].shape[0] % 32 == row["real"].shape[1] % 32 == 0


@pytest.mark.parametrize("resize", ["square", "none"])
def test_an_unreadable_sample_is_noted_and_the_others_are_read(resize):
    source = Sized(damaged=[3])
    data = EvaluationData(source, Sizing(resize, 16, 50, 32), 4, 0)
    seen = [
        index
        for number, batch in enumerate(data.batches)
        for index, readable in zip(data.indices(number), batch["readable"], strict=True)
        if readable
    ]
    data.batches.close()
    assert sorted(seen) == [0, 1, 2, 4]
    assert data.left_out == ({3} if resize == "none" else set())
    assert data.reason(3) == "sample 3: damaged"


def test_processes_make_the_same_batches_of_a_photo_that_one_of_them_cannot_read(monkeypatch):
    """Each opens its part, and gets the other's sizes from it."""
    sources = [Sized(damaged=[2]), Sized(damaged=[3])]  # 2 is the first's to open, 3 the second's
    number, parts = 0, []

    def made(gathered) -> list[EvaluationData]:
        nonlocal number
        monkeypatch.setattr(multihost_utils, "process_allgather", gathered)
        found = []
        for number, source in enumerate(sources):  # noqa: B007
            found.append(EvaluationData(source, Sizing("none", 16, 50, 32), 4, 0))
            found[-1].batches.close()
        return found

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: number)
    made(lambda own: parts.append(own) or np.stack([own, own]))
    first, second = made(lambda own: np.stack(parts))
    assert first.left_out == second.left_out == {2, 3}
    assert first.indices(0) == second.indices(0) == [0, 1, 4, -1]
