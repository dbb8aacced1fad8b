"""The exported network gives what the checkpoint gives, at every size."""

import json
import sys

import numpy as np
import pytest
import stage_runs
import torch
from small_runs import small_data, small_settings

from cseg.cli import main
from cseg.inference import load_segmenter

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


# Tracing takes its time where padding depends on the size, as in tf_efficientnet_lite0.
PADDED = "tf_efficientnet_lite0"
NETWORKS = [
    ("test_resnet", 40),
    pytest.param((PADDED, None), marks=pytest.mark.slow),
    pytest.param((PADDED, 40), marks=pytest.mark.long),
]


@pytest.fixture(scope="module", params=NETWORKS, ids=str)
def trained(tmp_path_factory, request):
    """A checkpoint of an encoder whose images were resized to a short side, or not at all."""
    encoder, short_side = request.param
    folder = tmp_path_factory.mktemp("export")
    model = {"encoder": encoder, "maps": {encoder: [1, 1]}}
    out = stage_runs.trained(
        "finetune", small_data(folder), small_settings("scratch", model=model), folder / "run",
        title="shapes/scratch/n4/seed0",
    )  # fmt: skip
    content = torch.load(out.weights, weights_only=True)
    content["settings"]["image"]["short_side"] = short_side
    path = folder / "finetune.pt"
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def session(trained):
    path = trained.with_name("model.onnx")
    assert main(["export", str(trained), "--out", str(path)]) == 0
    assert not list(path.parent.glob("*.data")) and not list(path.parent.glob(".*"))
    return onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("size", [(32, 32), (51, 37), (96, 64), (40, 161)])
def test_the_file_predicts_as_pytorch_does(session, trained, size):
    generator = np.random.default_rng(0)
    images = np.stack([noise(generator, size), noise(generator, size)])
    given = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    (logits,) = session.run(["logits"], {"images": given})
    for image, found in zip(images, logits, strict=True):
        segmenter = load_segmenter(trained)
        probabilities = segmenter.probabilities(image)
        odds = np.exp(found - found.max(0))
        assert np.abs(odds / odds.sum(0) - probabilities).max() < 0.01
        assert (found.argmax(0) == segmenter.predict(image)).mean() > 0.998


def noise(generator, size):
    """Blotches of all sizes, not white noise, which resizing makes grey."""
    coarse = generator.integers(0, 256, (5, 7, 3)).astype(np.float32)
    rows, columns = (np.linspace(0, n - 1, side).astype(int) for n, side in zip((5, 7), size))
    fine = generator.integers(-20, 21, (*size, 3))
    return np.clip(coarse[rows][:, columns] + fine, 0, 255).astype(np.uint8)


def test_its_axes_have_names(session):
    (images,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape) == ("images", ["batch", 3, "height", "width"])
    assert (logits.name, logits.shape) == ("logits", ["batch", 7, "height", "width"])


def test_the_file_says_what_it_is(session, trained):
    facts = session.get_modelmeta().custom_metadata_map
    loaded = load_segmenter(trained)
    side = loaded.settings.image.short_side
    assert facts["run"] == "shapes/scratch/n4/seed0" and facts["window"] == ""
    assert facts["short_side"] == ("40" if side else "")
    assert tuple(json.loads(facts["class_names"])) == loaded.info.class_names
    assert json.loads(facts["palette"]) == [list(colour) for colour in loaded.info.palette]


def test_no_file_is_replaced(checkpoint, tmp_path, capsys):
    mine = tmp_path / "model.onnx"
    mine.write_bytes(b"mine")
    assert main(["export", str(checkpoint), "--out", str(mine)]) == 1
    assert "model.onnx exists already; move it" in capsys.readouterr().err
    assert mine.read_bytes() == b"mine"


def test_without_the_extra_it_is_one_sentence(checkpoint, tmp_path, capsys, monkeypatch):
    for name in [*sys.modules, "onnx", "onnxscript"]:
        if name.split(".")[0] in ("onnx", "onnxscript"):
            monkeypatch.setitem(sys.modules, name, None)
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "m")]) == 1
    assert "run pip install 'onnx>=" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
