"""The exported network gives what the checkpoint gives, at every size."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_runs import ROOT

from cseg.cli import main
from cseg.inference import load_segmenter

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def session(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    assert main(["export", str(checkpoint), "--out", str(path)]) == 0
    assert not list(path.parent.glob("*.data")) and not list(path.parent.glob(".*"))
    return onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 3, 51, 37), (1, 3, 96, 64), (2, 3, 40, 161)])
def test_logits_equal_pytorchs(session, checkpoint, shape):
    network = load_segmenter(checkpoint).network
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(images).numpy()
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()
    assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.999


def test_the_file_says_what_it_is(session, checkpoint):
    facts = session.get_modelmeta().custom_metadata_map
    info = load_segmenter(checkpoint).info
    assert facts["run"] == "shapes/scratch/n4/seed0" and facts["short_side"] == ""
    assert tuple(json.loads(facts["class_names"])) == info.class_names
    assert json.loads(facts["palette"]) == [list(colour) for colour in info.palette]


def test_without_the_extra_it_is_one_sentence(checkpoint, tmp_path):
    block = "import sys; sys.modules['onnxscript'] = sys.modules['onnx'] = None; "
    arguments = ["export", str(checkpoint), "--out", str(tmp_path / "m")]
    call = f"from cseg.cli import main; sys.exit(main({arguments}))"
    done = subprocess.run([sys.executable, "-c", block + call], cwd=ROOT, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 1 and done.stderr.strip().endswith("`pip install 'cseg[onnx]'`")
    assert not (tmp_path / "m").exists()
