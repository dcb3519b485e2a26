import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from harmony_jax import (
    denormalize,
    normalize,
)
from harmony_jax.models.layers import LayerMaker
from harmony_jax.models.ocr import ObjectContext
from harmony_jax.models.platform_forms import portable_forms
from harmony_jax.weights.export import MAX_JAX, export_onnx, onnx_difference
from harmony_jax.weights.saved_model import load_model
from scripts.export_model import main
from tests.released import filled_model
from tests.weights.checks import failure

RNG = np.random.default_rng(0)
ROOT = Path(__file__).parents[2]

needs_jax2onnx = pytest.mark.skipif(
    jax.__version_info__[:2] > MAX_JAX or importlib.util.find_spec("jax2onnx") is None,
    reason=f"jax2onnx is not installed, or cannot take JAX {jax.__version__}",
)

# Of the converter's own code.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:Explicitly requested dtype float64:UserWarning",
)


@pytest.fixture(scope="module")
def model(trained):
    return load_model(trained[1])[0]


def inputs(batch: int) -> tuple[np.ndarray, np.ndarray]:
    composite = RNG.uniform(0, 255, (batch, 32, 32, 3)).astype(np.float32)
    mask = np.zeros((batch, 32, 32), np.float32)
    mask[:, 8:20, 10:25] = 1
    return composite, mask


# Nothing of this package: what stands in docs/export.md, for somebody who only has the file.
RUN_STABLEHLO = """
import sys
import numpy as np
from jax import export

with open(sys.argv[1], "rb") as file:
    program = export.deserialize(bytearray(file.read()))
with np.load(sys.argv[2]) as arrays:
    result = program.call(arrays["composite"], arrays["mask"])
np.savez(sys.argv[3], **result)
assert not any(name.startswith(("harmony_jax", "flax")) for name in sys.modules)
assert sorted(program.platforms) == ["cpu", "cuda", "tpu"], program.platforms
"""
RUN_ONNX = """
import sys
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
with np.load(sys.argv[2]) as arrays:
    result = session.run(names, {"composite": arrays["composite"], "mask": arrays["mask"]})
np.savez(sys.argv[3], **dict(zip(names, result)))
assert "jax" not in sys.modules
"""


@pytest.mark.parametrize(
    ("ending", "code", "tolerance"),
    [
        (".stablehlo", RUN_STABLEHLO, 1e-3),
        pytest.param(".onnx", RUN_ONNX, 1e-3, marks=needs_jax2onnx),
    ],
)
def test_a_file_gives_the_models_answer_without_this_package(
    trained, model, tmp_path, ending, code, tolerance, capsys
):
    output = tmp_path / f"model{ending}"
    main([f"--checkpoint={trained[1]}", f"--output={output}"])
    assert "improved_dih256 at 32 x 32 pixels" in capsys.readouterr().out
    for batch in (1, 3):
        composite, mask = inputs(batch)
        np.savez(tmp_path / "in.npz", composite=composite, mask=mask)
        subprocess.run(
            [sys.executable, "-c", code, output, tmp_path / "in.npz", tmp_path / "out.npz"],
            check=True,
            cwd=tmp_path,
        )
        expected = answer(model, composite, mask)
        with np.load(tmp_path / "out.npz") as found:
            assert sorted(found) == ["blend_mask", "harmonized"]
            for name in found:
                np.testing.assert_allclose(found[name], expected[name], atol=tolerance)


def answer(model, composite: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    output = model(normalize(jax.numpy.asarray(composite)), jax.numpy.asarray(mask)[..., None])
    image = np.clip(denormalize(output.image), 0, 255)
    return {"harmonized": image, "blend_mask": np.asarray(output.blend_mask)[..., 0]}


@needs_jax2onnx
@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("dih256", {"depth": 3}, 32),
        ("improved_sedih256", {"depth": 4}, 32),
        ("improved_ssam256", {}, 32),
        ("iseunetv1_256", {}, 32),
        ("deeplab_r34_idih256", {"depth": 5}, 64),
    ],
)
def test_every_base_converts_to_onnx(name, arguments, size):
    """Small ones; docs/export.md has the differences of the released ones, HRNet's too."""
    model = filled_model(name, channels=8, max_channels=16, **arguments)
    model.eval()
    assert onnx_difference(export_onnx(model, size), model, size) < 1e-2


@needs_jax2onnx
def test_hrnets_object_context_converts_to_onnx():
    """The part of HRNet that has operations of its own; all of it takes half a minute."""
    import onnxruntime
    from jax2onnx import to_onnx

    context = ObjectContext(LayerMaker(nnx.Rngs(0)), features=8, keys=4, dropout=0.1)
    context.eval()
    x, mask = (RNG.normal(size=(2, 16, 16, n)).astype(np.float32) for n in (8, 1))
    with portable_forms():
        converted = to_onnx(
            lambda x, mask: context(x, mask, None), [("batch", 16, 16, 8), ("batch", 16, 16, 1)]
        )
    session = onnxruntime.InferenceSession(converted.SerializeToString())
    names = [found.name for found in session.get_inputs()]
    (result,) = session.run(None, dict(zip(names, (x, mask), strict=True)))
    expected = context(jax.numpy.asarray(x), jax.numpy.asarray(mask), None)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("checkpoint", "arguments", "message"),
    [
        (None, ["--output=m.onnx"], "the following arguments are required: --checkpoint"),
        ("x", ["--output=m.pb"], "m.pb: unknown ending '.pb': use .stablehlo"),
        ("x", ["--output=m.onnx"], "x: no such file or folder, and no model of that name"),
        ("x", ["--output=m.onnx", "--platforms=cpu"], "--platforms: only for StableHLO"),
        ("x", ["--output=file/m.onnx"], "file: cannot be written"),
        ("trained", ["--output=file.stablehlo"], "file.stablehlo: is there already"),
        ("trained", ["--output=m.stablehlo", "--platforms=cpu,npu"], "platforms 'cpu,npu'"),
        ("trained", ["--output=m.stablehlo", "--image-size=33"], "image size 33x33"),
        ("trained", ["--output=m.onnx", "--image-size=0"], "image size 0x0"),
        ("trained", ["--output=m.onnx", "--image-size=-64"], "image size -64x-64"),
    ],
)
def test_mistakes_are_one_line(trained, checkpoint, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("file", "file.stablehlo"):
        Path(name).write_bytes(b"mine")
    if checkpoint:
        path = trained[1] if checkpoint == "trained" else checkpoint
        arguments = [f"--checkpoint={path}", *arguments]
    assert message in failure(main, *arguments)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"mine"}
    assert len(list(tmp_path.iterdir())) == 2


def test_an_export_for_other_platforms_is_compared_as_one_for_this(trained, tmp_path, capsys):
    output = tmp_path / "m.stablehlo"
    main([f"--checkpoint={trained[1]}", f"--output={output}", "--platforms=tpu"])
    assert jax.export.deserialize(bytearray(output.read_bytes())).platforms == ("tpu",)
    assert "differs from the model by at most 0 of 255" in capsys.readouterr().out


def test_an_export_that_differs_is_not_written(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.export_model.stablehlo_difference", lambda *_: 0.5)
    with pytest.raises(SystemExit, match=r"not written: .* by 0\.5 of 255"):
        main([f"--checkpoint={trained[1]}", f"--output={tmp_path / 'm.stablehlo'}"])
    assert not list(tmp_path.iterdir())


def test_a_jax_that_the_converter_cannot_take_is_one_line(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (MAX_JAX[0], MAX_JAX[1] + 1, 0))
    line = failure(main, f"--checkpoint={trained[1]}", f"--output={tmp_path / 'm.onnx'}")
    message = f"exporting ONNX needs JAX {MAX_JAX[0]}.{MAX_JAX[1]} or older, not {jax.__version__}"
    assert line == f"error: {message}: pip install 'harmony_jax[export]'"
    assert not list(tmp_path.iterdir())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"jax<{MAX_JAX[0]}.{MAX_JAX[1] + 1}" in project["optional-dependencies"]["export"]
