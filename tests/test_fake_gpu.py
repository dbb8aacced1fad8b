"""What a GPU would refuse or wait for, seen on a machine without one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import small_data, small_settings
from stage_runs import evaluated, trained
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from cseg.images import distortion
from cseg.inference import masks
from cseg.inference.load import load_segmenter
from cseg.losses import triton_paper
from cseg.stages import evaluate, features, finetune, pretrain, pseudolabel
from cseg.storage.index_and_subset import read_index
from cseg.training import loop

pytest.importorskip("triton")
from fake_gpu import fake_gpu

STEPS = {"steps": 2, "log_every": 2, "checkpoint_minutes": 1000}
# The host reads the losses of the steps between two rows of the curve, and validates after them.
MAY_WAIT = ("loop._finite_means", "loop._validate")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """Train a stage on a GPU that is not there; gives what was seen and the waits inside steps."""

    def pinned(batches, workers, pin, first):
        for number in range(first, batches.steps):
            yield tuple(t.pin_memory() if pin else t for t in batches[number])

    def go(stage, arm, precision="bf16", pretraining=None, **changes):
        blocks = {stage: {**STEPS, "distortion": 1.0, **changes}}
        if stage == "finetune":
            blocks["pretrain"] = pretraining or {}
        settings = small_settings(arm, device="cuda", precision=precision, **blocks)
        with fake_gpu() as seen:
            monkeypatch.setattr(loop, "iterate", pinned)
            trained(stage, data, settings, tmp_path / "run")
        assert seen.operations > 500
        return seen, seen.inside(of="loop.train", but=MAY_WAIT)

    return go


def others_slow(cases):
    """The first case runs always, the others with the slow tests."""
    first, *others = cases
    return [first, *(pytest.param(case, marks=pytest.mark.slow) for case in others)]


PRETRAIN = {
    "cross": ("cross", {}),
    "within": ("within", {}),
    "cross, released": ("cross", {"denominator": "negatives"}),
    "batch, released": ("batch", {"denominator": "negatives"}),
    "memory": ("batch", {"memory_images": 2}),
    "grids": ("cross", {"coarse_grids": [[4, 4]]}),
    "accumulate, fp32": ("within", {"accumulate": 2, "precision": "fp32"}),
}


@pytest.mark.parametrize("case", others_slow(PRETRAIN))
def test_a_step_of_pretraining_never_waits(run, case):
    arm, changes = PRETRAIN[case]
    seen, waits = run("pretrain", arm, **changes)
    assert not waits
    kernels = {launch.kernel for launch in seen.launches}
    released = changes.get("denominator") == "negatives"
    assert kernels >= ({"value", "gradient"} if released else {"walk", "class_sums"})
    # bfloat16 features are multiplied as they are, float32 ones in two float16 parts
    firsts = {launch.dtypes[0] for launch in seen.launches if "SPLIT" in launch.options
              and launch.kernel != "operands"}  # fmt: skip
    assert firsts == {torch.float16 if "precision" in changes else torch.bfloat16}


FINETUNE = {
    "joint": {"contrast_scope": "within"},
    "plain": {},
    "hard": {"contrast_scope": "cross", "contrast_anchors": "hard"},
    "hard, memory": {"contrast_scope": "batch", "contrast_anchors": "hard",
                     "pretraining": {"memory_images": 2}},
    "probe": {"trained": "classifier"},
    "consistency": {"consistency": {"weight": 1.0, "feature_dropout": 0.5}},
    "consistency, network": {"consistency": {"weight": 1.0, "teacher": "network"}},
    "validation": {"validate_every": 1, "report": "best"},
}  # fmt: skip


@pytest.mark.parametrize("case", others_slow(FINETUNE))
def test_a_step_of_fine_tuning_never_waits(run, case):
    seen, waits = run("finetune", "scratch", **FINETUNE[case])
    assert not waits
    assert bool(seen.launches) == ("contrast_scope" in FINETUNE[case])


def loaded_in(monkeypatch, stage, checkpoint):
    """Let a stage take the network loaded here: torch.load would give fake tensors inside."""
    loaded = load_segmenter(checkpoint)
    monkeypatch.setattr(stage, "load_segmenter", lambda _: loaded)


def kinds(waits):
    return dict(Counter(wait.what for wait in waits))


@pytest.mark.parametrize("window", others_slow([None, [16, 16]]))
def test_evaluation_fetches_each_prediction_once(data, checkpoint, tmp_path, monkeypatch, window):
    settings = small_settings("scratch", device="cuda", evaluate={"window": window})
    loaded_in(monkeypatch, evaluate, checkpoint)
    with fake_gpu() as seen:
        evaluated(data, settings, checkpoint, tmp_path)
    waits = seen.inside(of="predict.predict")
    assert {wait.what for wait in waits} == {"copy to the GPU, pageable", "copy to the host"}


@pytest.mark.parametrize("window", others_slow([[16, 16], None]))
def test_pseudo_labels_wait_for_answers_only(data, checkpoint, tmp_path, monkeypatch, window):
    loaded_in(monkeypatch, pseudolabel, checkpoint)
    chosen = {"images": 2, "class_share": 0.5}
    settings = small_settings(
        "cross_pseudo", device="cuda", pseudolabel=chosen, evaluate={"window": window}
    )
    paths = {name: tmp_path / name for name in ("labels", "listing", "quality")}
    out = pseudolabel.PseudolabelOutputs(**paths)
    with fake_gpu() as seen:
        pseudolabel.pseudolabel(data, settings, teacher=checkpoint, out=out, threads=1)
    strips = 3 if window else 1  # 32 rows in windows of 16 that overlap by 8
    # each of two images is asked twice, once for the thresholds; class and probability of a strip
    expected = {"copy to the GPU, pageable": 4 * strips, "copy to the host": 2 * 4 * strips}
    assert kinds(seen.inside(of="predict.predict_sure")) == expected
    assert kinds(seen.inside(of="pseudolabel.pseudolabel", but=("pseudolabel.answer",))).keys() <= {
        "copy to the GPU, pageable"  # the network's weights
    }


def test_features_wait_once_for_each_network(data, tmp_path):
    start = features.Start(
        arm="scratch", inputs=data, settings=small_settings("scratch", device="cuda")
    )
    out = features.FeaturesOutputs(features=tmp_path / "f.csv", separability=tmp_path / "s.csv")
    with fake_gpu() as seen:
        features.features([start], out=out, threads=1)
    # one batch of images, the places of the pixels, and the features of those
    expected = {"copy to the GPU, pageable": 2, "copy to the host": 1}
    assert kinds(seen.inside(of="features.unit_features")) == expected


@pytest.mark.parametrize("window", others_slow([(16, 16), None]))
def test_masks_wait_for_the_maps_only(data, checkpoint, tmp_path, monkeypatch, window):
    loaded_in(monkeypatch, masks, checkpoint)
    images = [Path(path) for path in read_index(data.index)["image"][:2]]
    chosen = masks.MaskSettings(device="cuda", window=window)
    with fake_gpu() as seen:
        masks.write_masks(checkpoint, images, tmp_path / "out", chosen)
    strips = 3 if window else 1
    expected = {
        "copy to the GPU, pageable": 2 * strips,
        "copy to the host": 2 * (strips + 1),  # the maps of each strip, and the sums of entropy
    }
    assert kinds(seen.inside(of="masks.predict_maps")) == expected


def item(logits, labels):
    (labels != 255).sum().item()


def host_vector(logits, labels):
    logits + torch.ones(3).sum(0, keepdim=True)


def mask(logits, labels):
    labels[labels != 255]


def host_index(logits, labels):
    logits[torch.arange(2)]


def to_list(logits, labels):
    labels.sum((1, 2)).tolist()


def to_cpu(logits, labels):
    labels.float().mean().cpu()


def new_tensor(logits, labels):
    torch.tensor([1.0, 2.0], device=logits.device)


def condition(logits, labels):
    assert not (labels == -1).any()


MISTAKES = [item, host_vector, mask, host_index, to_list, to_cpu, new_tensor, condition]


@pytest.mark.parametrize("mistake", others_slow(MISTAKES), ids=lambda function: function.__name__)
def test_a_mistake_in_a_step_is_seen(run, monkeypatch, mistake):
    right = finetune.cross_entropy

    def wrong(logits, labels):
        mistake(logits, labels)
        return right(logits, labels)

    monkeypatch.setattr(finetune, "cross_entropy", wrong)
    assert seen_as_wrong(run, "finetune", "scratch")


def seen_as_wrong(run, *arguments):
    try:
        return bool(run(*arguments, steps=1)[1])
    except DynamicOutputShapeException:  # the host would ask how many elements there are
        return True
    except (RuntimeError, AssertionError) as error:  # what a GPU refuses
        return any(word in str(error) for word in ("device", "pointer", "contiguous"))


def pageable(values: np.ndarray, device):
    return torch.from_numpy(values).to(device, non_blocking=True)


def blocking(values: np.ndarray, device):
    return torch.from_numpy(values).pin_memory().to(device)


@pytest.mark.parametrize("copy", [pageable, blocking])
def test_a_copy_that_waits_is_seen(run, monkeypatch, copy):
    monkeypatch.setattr(distortion, "to_device", copy)
    assert seen_as_wrong(run, "pretrain", "within")


@pytest.mark.parametrize(
    ("place", "name", "wrong"),
    [
        (triton_paper, "anchor_weights", lambda valid, *_: torch.ones(valid.shape)),
        (triton_paper, "operands", lambda f, *_: (f.mT.contiguous().mT,) * 2),
        (pretrain, "distort", lambda images, *_: images.cpu().to(images.device)),
    ],
    ids=["weights on the host", "not contiguous", "distorted on the host"],
)
def test_a_mistake_around_the_loss_is_seen(run, monkeypatch, place, name, wrong):
    monkeypatch.setattr(place, name, wrong)
    assert seen_as_wrong(run, "pretrain", "within")
