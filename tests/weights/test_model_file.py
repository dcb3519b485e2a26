"""A model with other arguments than released goes into a file and comes back."""

import json
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from harmony_jax import InputError, create_model, to_torch_state_dict
from harmony_jax.variables import split
from harmony_jax.weights.files import read_state_dict
from harmony_jax.weights.model_file import write_model_file
from harmony_jax.weights.saved_model import load_model, save_model
from harmony_jax.weights.steps import list_files
from scripts.convert_weights import main
from tests.released import filled_model
from tests.weights.checks import assert_same_arrays, failure

# The paper's best model, small: its features go to the decoder too, which a name does not say.
BOTH = {
    "model": {
        "name": "hrnet18s_idih256",
        "overrides": {
            "fuse_into": "both",
            "width": 2,
            "ocr_channels": 0,
            "multiscale": False,
            "dropout": 0.1,
            "depth": 4,
            "channels": 8,
            "max_channels": 16,
        },
    },
    "image_size": 64,
}
SMALL = {
    "model": {
        "name": "improved_dih256",
        "overrides": {"depth": 4, "channels": 8, "max_channels": 16},
    },
    "image_size": 32,
}


def made(metadata: dict, folder):
    """A model with weights of its own, and a workdir that holds it."""
    name, overrides = metadata["model"].values()
    model = filled_model(name, **overrides)
    save_model(folder, model, metadata)
    return to_torch_state_dict(model), folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return made(BOTH, tmp_path_factory.mktemp("both"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The smaller model as .safetensors."""
    _, workdir = made(SMALL, tmp_path_factory.mktemp("small"))
    path = tmp_path_factory.mktemp("file") / "small.safetensors"
    main([f"--input={workdir}", f"--output={path}"])
    return path


def assert_same(path, arrays: dict, metadata: dict) -> None:
    """What `load_model` finds there is the model, and is known as it."""
    found, loaded = load_model(path)
    assert {key: loaded.metadata[key] for key in metadata} == metadata
    assert_same_arrays(to_torch_state_dict(found), arrays)


def test_safetensors_say_their_model_and_come_back(both, tmp_path):
    arrays, workdir = both
    file, again = tmp_path / "both.safetensors", tmp_path / "again"
    main([f"--input={workdir}", f"--output={file}"])
    assert_same(file, arrays, BOTH)
    main([f"--input={file}", f"--output={again}"])
    assert_same(again, arrays, BOTH)


def test_a_copy_is_the_same_file(file, tmp_path):
    main([f"--input={file}", f"--output={tmp_path / 'copy.safetensors'}"])
    assert (tmp_path / "copy.safetensors").read_bytes() == file.read_bytes()


def test_pth_comes_back_by_the_command_that_is_printed(both, tmp_path, capsys):
    pytest.importorskip("torch")
    arrays, workdir = both
    path = tmp_path / "my model.pth"
    main([f"--input={workdir}", f"--output={path}"])
    line = capsys.readouterr().out.splitlines()[-1]
    program, script, *words = shlex.split(line.removeprefix("Back: "))
    assert (program, script) == ("python", "scripts/convert_weights.py")
    assert "--override=fuse_into=both" in words
    main([word.replace("WORKDIR", str(tmp_path / "again")) for word in words])
    assert_same(tmp_path / "again", arrays, BOTH)


def test_a_file_without_its_arguments_is_told_how_to_name_them(file, tmp_path):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(safetensors.numpy.save(read_state_dict(file)))  # as other programs write it
    source, output = f"--input={bare}", f"--output={tmp_path / 'out'}"
    assert "does not say which model it holds: name the model" in failure(main, source, output)
    line = failure(main, source, output, "--model=improved_dih256")
    assert f"{bare}: is not a improved_dih256: " in line
    with pytest.raises(InputError, match=r"does not say its model: make a workdir"):
        load_model(bare)
    assert list(tmp_path.iterdir()) == [bare]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--override=fuse_into", "'fuse_into': expected NAME=VALUE"),
        ("--override=depth=seven", "depth=seven: expected a whole number"),
        ("--override=multiscale=1", "multiscale=1: expected true or false"),
        ("--override=fuse=both", "unknown argument 'fuse': choose from attend_from, "),
        ("--override=depth=5", "not a improved_dih256 with depth=5: leave"),
        ("--image-size=256", "image size 32, not 256: leave"),
        ("--model=dih256", "holds a improved_dih256, not a dih256: leave"),
    ],
)
def test_arguments_that_contradict_the_file_are_refused(file, tmp_path, argument, expected):
    assert expected in failure(main, f"--input={file}", f"--output={tmp_path / 'out'}", argument)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "its metadata is no JSON"),
        ("[1]", "its metadata names no model"),
        (json.dumps({**SMALL, "image_size": None}), "its metadata names no model"),
        (json.dumps({"model": SMALL["model"]}), "its metadata has no 'image_size'"),
        (json.dumps({**SMALL, "image_size": 40}), "image size 40x40"),
        (json.dumps({**SMALL, "model": {"name": "idih", "overrides": {}}}), "unknown model 'idih'"),
        (json.dumps(SMALL).replace("4", '"4"'), "depth '4': expected a whole number"),
    ],
)
def test_nonsense_in_a_file_is_one_line(file, tmp_path, text, expected):
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.numpy.save(read_state_dict(file), {"harmony_jax": text}))
    with pytest.raises(InputError, match=expected) as error:
        load_model(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["model", "image_size"])
def test_a_checkpoint_whose_metadata_lacks_a_key_is_one_line(tmp_path, key):
    made(SMALL, tmp_path)
    step = tmp_path / "checkpoints" / "0"
    text = json.dumps({name: value for name, value in SMALL.items() if name != key})
    (step / "metadata" / "metadata").write_text(text)
    list_files(step, "model", "metadata")
    with pytest.raises(InputError, match=rf"0: its metadata has no '{key}'"):
        load_model(tmp_path)


def test_float16_halves_large_arrays_and_is_read_as_any(tmp_path):
    metadata = {**SMALL, "model": {**SMALL["model"], "overrides": {"depth": 4, "channels": 16}}}
    arrays, workdir = made(metadata, tmp_path / "workdir")
    file = tmp_path / "half.safetensors"
    main([f"--input={workdir}", f"--output={file}", "--dtype=float16"])
    halved = {
        key for key, array in safetensors.numpy.load_file(file).items() if array.itemsize == 2
    }
    assert halved == {key for key, array in arrays.items() if array.size > 4096}
    assert 0 < len(halved) < len(arrays)
    rounded = {
        k: v.astype(np.float16).astype(v.dtype) if k in halved else v for k, v in arrays.items()
    }
    assert_same(file, rounded, metadata)
    assert "holds float32, not float16" in failure(
        main, f"--input={file}", f"--output={tmp_path / 'again'}", "--dtype=float16"
    )
    assert not (tmp_path / "again").exists()


def test_what_is_too_large_for_float16_is_not_written(tmp_path):
    model = nnx.eval_shape(lambda: create_model("dih256", rngs=nnx.Rngs(0), depth=3))
    model = nnx.merge(
        nnx.graphdef(model),
        *jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7e4, leaf.dtype), split(model)[1]),
    )
    metadata = {"model": {"name": "dih256", "overrides": {"depth": 3}}, "image_size": 32}
    with pytest.raises(InputError, match=r"weight holds 70000, too large for float16"):
        write_model_file(tmp_path / "a.safetensors", model, metadata, "float16")
    assert not list(tmp_path.iterdir())
