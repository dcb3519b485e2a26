import csv
import json
import os

import numpy as np
import pytest

from configs import base
from harmony_jax import InputError
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import KINDS, Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.pairs import PairsSource
from harmony_jax.data.preparing import composites
from harmony_jax.disk import write_file
from scripts.make_composites import main
from tests.made_data import write_photos

RECIPE = Recipe.of(base.get_config().data.composites)


@pytest.fixture
def photos(tmp_path):
    write_photos(tmp_path / "photos", 5, (64, 48))
    return tmp_path / "photos"


def make(photos, output, *others: str) -> None:
    main([f"--photos={photos}", f"--output={output}", "--workers=1", *others])


def files(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "record" not in path.parts
    }


def rows(folder) -> list[dict[str, str]]:
    with (folder / "composites.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_set_is_read_as_pairs_and_as_a_subset_of_iharmony4(photos, tmp_path):
    output = tmp_path / "root" / "HCOCO"
    make(photos, output, "--per-object=2", "--test-fraction=0.4")
    pairs = PairsSource(str(output))
    assert len(pairs) == 10
    sets = [IHarmony4Source(str(tmp_path / "root"), s, ("HCOCO",)) for s in ("train", "test")]
    assert [len(found) for found in sets] == [6, 4]
    real = [{found.photo(index) for index in range(len(found))} for found in sets]
    assert not real[0] & real[1]
    source = PhotosSource(PhotoSet(str(photos)), RECIPE)
    for index, row in enumerate(rows(output)):
        expected = source.with_seed(int(row["seed"]))[index // 2]
        assert row["object"] == source.name(index // 2)
        number = next(i for i in range(10) if pairs.name(i) == row["name"])
        sample = pairs[number]
        np.testing.assert_array_equal(sample["mask"], expected["mask"])
        for key in ("composite", "real"):  # as JPEG of high quality
            assert np.abs(sample[key].astype(int) - expected[key]).mean() < 3
        drawn = source.with_seed(int(row["seed"])).parameters(index // 2)
        assert row["kind"] == KINDS[drawn.kind]
        assert (row["reference"] == "") == (drawn.reference < 0)
        np.testing.assert_allclose([float(x) for x in row["light"].split()], drawn.light, atol=1e-4)
    assert {row["seed"] for row in rows(output)} == {"0", "1"}


def test_interrupted_the_same_command_makes_what_several_workers_make_at_once(
    photos, tmp_path, monkeypatch
):
    make(photos, tmp_path / "whole" / "set", "--workers=2")
    made, limit = [], 3

    def written(path, data):
        if path.parent.name == "composite_images":
            if len(made) == limit:
                raise KeyboardInterrupt
            made.append(path.stem)
        write_file(path, data)

    monkeypatch.setattr(composites, "write_file", written)
    with pytest.raises(SystemExit, match=r"^130$"):
        make(photos, tmp_path / "set")
    limit = None
    # A kill may also cut the last line off.
    record = tmp_path / "set" / "record" / "rows.jsonl"
    record.write_text(record.read_text()[:-20])
    make(photos, tmp_path / "set")
    assert made == [f"images-photo{number}_1_1" for number in (0, 1, 2, 2, 3, 4)]
    assert files(tmp_path / "set") == files(tmp_path / "whole" / "set")
    make(photos, tmp_path / "set")  # nothing left to do
    assert len(made) == 6


def test_what_cannot_be_read_is_named_and_the_rest_made(photos, tmp_path, capsys):
    damaged = photos / "images" / "photo3.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:70])
    with pytest.raises(SystemExit, match=r"unreadable\.txt: 1 objects"):
        make(photos, tmp_path / "set")
    assert "photo3.png: not a readable picture" in capsys.readouterr().out
    make(photos, tmp_path / "set", "--skip-unreadable")
    assert len(rows(tmp_path / "set")) == 4
    damaged.write_bytes(whole)
    make(photos, tmp_path / "set")
    assert len(rows(tmp_path / "set")) == 5
    assert not (tmp_path / "set" / "unreadable.txt").exists()


def test_the_recipe_is_the_command_s(photos, tmp_path):
    shares = [f"--composites.{kind}={float(kind == 'unchanged')}" for kind in KINDS]
    make(photos, tmp_path / "set", *shares, "--composites.distance", "1", "2")
    assert {row["kind"] for row in rows(tmp_path / "set")} == {"unchanged"}
    settings = json.loads((tmp_path / "set" / "record" / "settings.json").read_text())
    assert settings["recipe"]["distance"] == [1, 2]


def test_photos_of_like_names_stay_apart(tmp_path):
    folder = tmp_path / "photos" / "a"
    write_photos(folder, 2)
    for number, name in enumerate(("p_0", "p-0")):
        (folder / "images" / f"photo{number}.png").rename(folder / "images" / f"{name}.png")
        (folder / "masks" / f"photo{number}_1.png").rename(folder / "masks" / f"{name}.png")
    make(tmp_path / "photos", tmp_path / "set")
    assert [row["name"] for row in rows(tmp_path / "set")] == [
        "a-images-p-0_1_1.jpg",
        "a-images-p-0-2_1_1.jpg",
    ]


def test_photos_of_any_name_are_listed(tmp_path):
    odd = (b"caf\xe9", b"new\nline", b"a\\b", b"c_d")
    write_photos(tmp_path / "photos", len(odd))
    for number, name in enumerate(os.fsdecode(name) for name in odd):
        for folder, end in (("images", ""), ("masks", "_1")):
            place = tmp_path / "photos" / folder
            (place / f"photo{number}{end}.png").rename(place / f"{name}{end}.png")
    make(tmp_path / "photos", tmp_path / "root" / "HCOCO", "--test-fraction=0.5")
    expected = {f"images-{name}_1_1.jpg" for name in ("caf-", "new-line", "a-b", "c-d")}
    sets = [IHarmony4Source(str(tmp_path / "root"), s, ("HCOCO",)) for s in ("train", "test")]
    assert {found.name(index) for found in sets for index in range(2)} == expected
    assert {row["name"] for row in rows(tmp_path / "root" / "HCOCO")} == expected


def test_mistakes_are_one_line(photos, tmp_path):
    make(photos, tmp_path / "set")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for output, others, message in (
        (tmp_path / "set", ["--seed=1"], "set: was begun with other photos or settings"),
        (tmp_path / "full", [], "full: is not empty"),
        (photos / "out", [], "out: is inside .*photos"),
        (tmp_path / "new", ["--per-object=0"], "0 composites of each object"),
        (tmp_path / "new", ["--test-fraction=1"], r"test fraction 1\.0"),
        (tmp_path / "new", ["--workers=0"], "workers 0"),
        (tmp_path / "new", ["--composites.light=-1"], r"data\.composites\.light -1\.0"),
        (tmp_path / "new", ["--masks=nowhere"], r"data\.masks nowhere"),
    ):
        with pytest.raises(SystemExit, match=message) as error:
            make(photos, output, *others)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("reason", [OSError(28, "No space", "x"), InputError("x: No space")])
def test_a_full_disk_is_no_fault_of_a_photo(photos, tmp_path, monkeypatch, reason):
    def full(path, data):
        if path.parent.name == "masks":
            raise reason
        write_file(path, data)

    monkeypatch.setattr(composites, "write_file", full)
    with pytest.raises(SystemExit, match=r"x: .*No space"):
        make(photos, tmp_path / "set")
    assert not (tmp_path / "set" / "unreadable.txt").exists()
