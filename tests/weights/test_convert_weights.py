"""Conversion as a person runs it: released weights to a checkpoint that works, and back."""

import itertools
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from harmony_jax import (
    Harmonizer,
    InputError,
    create_model,
    denormalize,
    load_torch_state_dict,
    normalize,
    to_torch_state_dict,
)
from harmony_jax.build import model_arguments
from harmony_jax.evaluation.run import evaluate_workdir
from harmony_jax.training.loop import train
from harmony_jax.weights.files import read_state_dict, write_state_dict
from harmony_jax.weights.saved_model import load_model, save_model
from scripts.convert_weights import main
from tests.made_data import tiny_config
from tests.pytorch import torch
from tests.released import filled_model, golden, make_weights
from tests.weights.checks import assert_same_arrays, failure

NAME = "improved_dih256"
SMALL = {"depth": 4, "channels": 8, "max_channels": 16}


@pytest.fixture(scope="module")
def released() -> dict[str, np.ndarray]:
    """Weights of the released iDIH's keys and shapes."""
    return make_weights(golden(NAME)["state_dict"])


@pytest.fixture(scope="module")
def released_file(released, tmp_path_factory) -> Path:
    """A .pth file as it is released: by PyTorch, where it is installed."""
    path = tmp_path_factory.mktemp("released") / "idih256.pth"
    if torch is None:
        write_state_dict(path, released)
    else:
        torch.save({key: torch.tensor(value) for key, value in released.items()}, path)
    return path


@pytest.fixture(scope="module")
def converted(released_file, tmp_path_factory) -> Path:
    """A workdir made from the released file."""
    workdir = tmp_path_factory.mktemp("converted") / "runs" / "idih"
    main([f"--model={NAME}", f"--input={released_file}", f"--output={workdir}"])
    return workdir


def test_a_harmonizer_takes_the_checkpoint(converted, released):
    model = nnx.eval_shape(lambda: create_model(NAME, rngs=nnx.Rngs(0)))
    load_torch_state_dict(model, released)
    model.eval()
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    mask = np.zeros((256, 256), np.uint8)
    mask[64:192, 32:160] = 255
    foreground = jnp.asarray(mask)[None, ..., None] / 255.0
    output = nnx.jit(lambda model, *inputs: model(*inputs).image)(
        model, normalize(jnp.asarray(pixels)[None]), foreground
    )
    expected = np.clip(denormalize(output[0]), 0, 255)
    assert np.abs(expected - pixels)[mask > 0].mean() > 1
    harmonized = Harmonizer.from_checkpoint(converted).harmonize(pixels, mask, resolution=256)
    np.testing.assert_allclose(harmonized, expected, atol=0.51)


def test_what_was_done_is_told_with_the_command_to_go_on(released_file, tmp_path, capsys):
    main([f"--model={NAME}", f"--input={released_file}", f"--output={tmp_path / 'new'}"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{NAME}: 92 arrays, 8.30 M parameters, written to {tmp_path / 'new'}"
    expected = f"harmonize photo.jpg mask.png -o out.png --checkpoint={tmp_path / 'new'}"
    assert second == f"Use: {expected}"


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("part", ["", "checkpoints/0"])
def test_back_is_the_same_bit_by_bit(converted, released, tmp_path, part, ending):
    main([f"--input={converted / part}", f"--output={tmp_path / f'back{ending}'}"])
    assert_same_arrays(read_state_dict(tmp_path / f"back{ending}"), released)


def test_safetensors_and_pth_convert_into_each_other(released_file, released, tmp_path):
    files = [released_file, tmp_path / "a.safetensors", tmp_path / "b.pth"]
    for source, output in itertools.pairwise(files):
        main([f"--model={NAME}", f"--input={source}", f"--output={output}"])
    assert_same_arrays(read_state_dict(files[-1]), released)


def test_a_download_is_converted(released_file, released, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "*")
    handler = partial(QuietHandler, directory=str(released_file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        source = [
            f"--download={NAME}",
            f"--base-address=http://127.0.0.1:{server.server_port}",
            f"--cache={tmp_path / 'cache'}",
        ]
        main(source)
        assert str(tmp_path / "cache" / "idih256.pth") in capsys.readouterr().out
        server.shutdown()
    main([*source, f"--output={tmp_path / 'workdir'}"])  # from the cache: the server is gone
    assert_same_arrays(to_torch_state_dict(load_model(tmp_path / "workdir")[0]), released)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--output=x"], "one of the arguments --input --download is required"),
        (["--input=a.pth", "--download=dih256", "--output=x"], "not allowed with"),
        (["--input=FILE", f"--model={NAME}"], "--output is missing"),
        (["--input=FILE", "--output=x"], "does not say which model it holds: name the model"),
        (["--input=FILE", "--output=x", "--model=idih"], "unknown model 'idih': choose one of"),
        (["--input=FILE", "--output=x", "--models=y"], "unrecognized arguments: --models=y"),
        (["--input=nothing.pth", "--output=x", f"--model={NAME}"], "nothing.pth: no such file"),
        (["--input=notes.txt", "--output=x", f"--model={NAME}"], "notes.txt: unknown ending"),
        (["--input=DIR", "--output=x"], "is a checkpoint already"),
        (["--input=DIR", "--output=x.pth", "--model=dih256"], f"holds a {NAME}, not a dih256"),
        (["--input=empty", "--output=x.pth"], "empty: no checkpoint there"),
        (["--input=FILE", "--output=x", f"--model={NAME}", "--cache=y"], "--cache: only for"),
        (["--input=FILE", "--output=FILE", f"--model={NAME}"], "is there already"),
        (["--input=FILE", "--output=DIR", f"--model={NAME}"], "is there already"),
        (["--download=dih256", "--output=x"], "no released checkpoint of 'dih256'"),
        ([f"--download={NAME}", "--output=x", "--model=dih256"], "is another model"),
    ],
)
def test_mistakes_are_one_line(
    converted, released_file, tmp_path, monkeypatch, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").touch()
    Path("empty").mkdir()
    names = {"FILE": str(released_file), "DIR": str(converted)}
    line = failure(
        main,
        *(
            f"{flag}={names.get(value, value)}"
            for flag, value in (argument.split("=") for argument in arguments)
        ),
    )
    assert expected in line
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "empty"}


def test_a_file_of_another_model_is_named(released_file, tmp_path):
    line = failure(main, "--model=dih256", f"--input={released_file}", f"--output={tmp_path / 'x'}")
    assert len(line) < 1000  # not each of its keys
    assert f"{released_file}: is not a dih256: " in line
    assert "2 not in the model: decoder.conv_attention.bias" in line
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def model() -> nnx.Module:
    return filled_model(NAME, **SMALL)


@pytest.fixture
def small(model, tmp_path, mini_root):
    """A config, and a workdir that holds its model for inference."""
    config = tiny_config(mini_root)
    metadata = {"model": model_arguments(config), "image_size": config.data.image_size}
    save_model(tmp_path / "small", model, metadata)
    return config, tmp_path / "small"


def test_a_saved_model_is_evaluated(small, tmp_path):
    config, workdir = small
    evaluate_workdir(config, tmp_path / "results", checkpoint=workdir)
    result = json.loads((tmp_path / "results" / "evaluation.json").read_text())
    assert result["model"]["All"]["N"] == 6


def test_training_does_not_continue_weights_without_an_optimizer(small):
    config, workdir = small
    with pytest.raises(InputError, match=r"holds weights alone.*train in another workdir"):
        train(config, workdir)


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(model, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be written"):
        save_model(tmp_path / "file", model, {})

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=9000))
        with pytest.raises(InputError, match=r"full: cannot be written .*No space left on device"):
            save_model(tmp_path / "full", model, {})
    assert list((tmp_path / "full").iterdir()) == []

    def failing_rename(self, target):
        assert (self / "0" / "model").is_dir()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "rename", failing_rename)
    with pytest.raises(InputError, match=r"full: cannot be written .*Input/output error"):
        save_model(tmp_path / "full", model, {})
    assert list((tmp_path / "full").iterdir()) == []
