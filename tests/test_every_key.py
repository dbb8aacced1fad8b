"""Every key of the config changes what a run gives, or is named here with the reason why not."""

import shutil
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from config_page import facts
from key_outcomes import TINY, Runs, nested
from small_runs import SMOKE
from stage_runs import trained
from workflow_runs import overlay, snakemake

from cseg import experiment
from cseg.compute.device import has_gpu
from cseg.errors import ConfigError, CsegError
from cseg.experiment import Experiment
from cseg.model import checkpoint
from cseg.model.encoders import build_network
from cseg.stages.prepare import prepare
from cseg.storage.files import sha256_file


@dataclass(frozen=True)
class Case:
    """One key: which stage sees it, another value, and what must hold for it to matter."""

    stage: str
    value: Any
    under: dict[str, Any] = field(default_factory=dict)
    arm: str = "scratch"


LOOP = {
    "steps": 4, "batch": 2, "accumulate": 2, "lr": 0.2, "schedule": "poly", "momentum": 0.5,
    "weight_decay": 0.01, "warmup_steps": 2, "log_every": 1,
}  # fmt: skip
CONSISTENT = {"finetune.consistency.weight": 1.0, "finetune.consistency.threshold": 0.8}
JOINT = {"finetune.contrast_scope": "batch"}
MINE = {"run_arms": ["mine"], "arms.mine": {"init": "random", "scope": "none"}}
HEAD = {"run_arms": ["mine"], "arms.mine": {"init": "random", "scope": "cross"}}
BOTH = {"run_arms": ["scratch", "cross"]}

MATTERS = {
    **{f"pretrain.{name}": Case("pretrain", value, arm="cross") for name, value in LOOP.items()},
    **{f"finetune.{name}": Case("finetune", value) for name, value in LOOP.items()},
    "budget": Case("plan", "equal_steps"),
    "image.short_side": Case("finetune", 40),
    "image.crop": Case("finetune", [32, 24]),
    "image.scale": Case("finetune", [0.5, 2.0]),
    "image.flip": Case("finetune", False),
    "model.encoder": Case("finetune", "resnet18", {"model.maps.resnet18": [1, 1]}),
    "model.output_stride": Case("finetune", 8, {"model.maps.tf_efficientnet_lite0": [1, 2]}),
    "model.maps": Case("finetune", {"tf_efficientnet_lite0": [0, 1]}),
    "model.aspp_channels": Case("finetune", 8),
    "model.aspp_rates": Case("finetune", [1, 2]),
    "model.aspp_dropout": Case("finetune", 0.5),
    "model.low_channels": Case("finetune", 4),
    "model.decoder_channels": Case("finetune", 8),
    "model.head": Case("pretrain", "released", arm="cross"),
    "model.projection_channels": Case("pretrain", 8, arm="cross"),
    "pretrain.denominator": Case("pretrain", "negatives", arm="cross"),
    "pretrain.temperature": Case("pretrain", 0.2, arm="cross"),
    "pretrain.grid": Case("pretrain", [6, 6], arm="cross"),
    "pretrain.coarse_grids": Case("pretrain", [[4, 4]], arm="cross"),
    "pretrain.memory_images": Case("pretrain", 2, {"run_arms": ["batch"]}, "batch"),
    "pretrain.distortion": Case("pretrain", 0.5, arm="cross"),
    "finetune.consistency.weight": Case("further", 1.0),
    "finetune.consistency.ratio": Case("further", 2, CONSISTENT),
    "finetune.consistency.teacher": Case("further", "network", CONSISTENT),
    "finetune.consistency.decay": Case("further", 0.1, CONSISTENT),
    "finetune.consistency.threshold": Case("further", 0.2, CONSISTENT),
    "finetune.consistency.class_thresholds": Case("further", False, CONSISTENT),
    "finetune.consistency.align": Case("further", False, CONSISTENT),
    "finetune.consistency.rise": Case("further", 1.0, CONSISTENT),
    "finetune.consistency.distortion": Case("further", 1.0, CONSISTENT),
    "finetune.consistency.cutmix": Case("further", 0.0, CONSISTENT),
    "finetune.consistency.feature_dropout": Case("further", 0.5, CONSISTENT),
    "finetune.distortion": Case("finetune", 1.0),
    "finetune.distortion_share": Case("finetune", 1.0, {"finetune.distortion": 1.0}),
    "finetune.validate_every": Case("finetune", 2),
    "finetune.trained": Case("finetune", "decoder"),
    "finetune.contrast_scope": Case("finetune", "cross"),
    "finetune.contrast_weight": Case("finetune", 0.3, JOINT),
    "finetune.contrast_anchors": Case("finetune", "hard", JOINT),
    "finetune.report": Case(
        "finetune", "best",
        {"finetune.validate_every": 1, "finetune.steps": 8, "finetune.log_every": 1,
         "finetune.lr": 5.0},
    ),
    "evaluate.window": Case("evaluate", [16, 16]),
    "evaluate.train_images": Case("evaluate", 1),
    "precision": Case("finetune", "bf16"),
    "dataset_options": Case("images", {"shapes": {"train": 23}}),
    "data_dir": Case("images", "elsewhere"),
    "results_dir": Case("plan", "elsewhere"),
    "run_arms": Case("plan", ["scratch"]),
    "reference_arm": Case("plan", "cross", BOTH),
    "label_counts": Case("plan", [5]),
    "label_lists": Case(
        "lists", {"mine": "b.txt"}, {"label_lists": {"mine": "a.txt"}, "label_counts": ["mine"]}
    ),
    "seeds": Case("plan", [1]),
    "contrast_step_cost": Case("plan", 3.0, {"budget": "equal_time"}),
    "consistency_step_cost": Case("plan", 3.0, {"budget": "equal_time", **CONSISTENT}),
    "arms": Case("plan", {"scratch": {"init": "imagenet"}}),
    "arms.NAME.init": Case("finetune", "imagenet", MINE, "mine"),
    "arms.NAME.scope": Case("plan", "cross", MINE),
    "arms.NAME.teacher": Case("plan", "scratch", BOTH | {"arms.mine_pseudo": {
        "init": "random", "scope": "none", "teacher": "cross"}, "run_arms": ["mine_pseudo"]}),
    "arms.NAME.pretrained_by": Case("plan", "cross", HEAD),
    "arms.NAME.overrides.pretrain": Case("pretrain", {"lr": 0.2}, HEAD, "mine"),
    "arms.NAME.overrides.finetune": Case("finetune", {"lr": 0.2}, MINE, "mine"),
    "arms.NAME.overrides.model.head": Case("pretrain", "released", HEAD, "mine"),
    "arms.NAME.overrides.model.projection_channels": Case("pretrain", 8, HEAD, "mine"),
    "arms.NAME.overrides.budget": Case("plan", "equal_steps", MINE),
    "ablations": Case("plan", {"start": {"a": "scratch", "b": "cross"}}, BOTH),
    "pseudolabel.threshold": Case("pseudolabel", 0.1, arm="scratch_pseudo"),
    "pseudolabel.class_share": Case("pseudolabel", 0.5, arm="scratch_pseudo"),
    "pseudolabel.images": Case("pseudolabel", 3, arm="scratch_pseudo"),
    "pseudolabel.student": Case("student", "teacher", arm="scratch_pseudo"),
    "pseudolabel.repeat_labelled": Case("student", 3, arm="scratch_pseudo"),
}  # fmt: skip

MUST_NOT = {
    "pretrain.checkpoint_minutes": (0.0001, "a state is written for a run that is killed"),
    "finetune.checkpoint_minutes": (0.0001, "a state is written for a run that is killed"),
    "pretrain.workers": (1, "batches are a function of the step"),
    "finetune.workers": (1, "batches are a function of the step"),
    "pretrain.cache_mib": (0, "an image is the same, read again or kept"),
    "finetune.cache_mib": (0, "an image is the same, read again or kept"),
    "deterministic": (True, "it is about a GPU; a CPU repeats itself"),
    "tensorboard": (True, "the curves are written once more, elsewhere"),
    "jobs_per_gpu": (2, "jobs queue for a GPU; each gives what it gives alone"),
}

# Keys whose test needs more than another value: the tests below and the one that is named.
BY_NAME = {
    "dataset": "test_another_dataset_gives_other_images",
    "audit_lists": "test_an_audited_list_gets_a_row",
    "device": "test_the_device_is_the_one_asked_for",
    "compile": "test_a_compiled_network_learns_the_same",
    "prepared_cache": "test_prepared_images_are_the_same_images",
    "pretrain.backend": "test_engines_agree_up_to_rounding",
    **dict.fromkeys(
        [f"arms.NAME.init.{name}" for name in ("weights", "mean", "std", "data", "licence",
                                               "sha256")],
        "test_every_fact_of_given_weights_matters",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("keys"))


def test_every_key_has_its_entry():
    keys = [fact.name for fact in facts(Experiment)]
    assert sorted(keys) == sorted([*MATTERS, *MUST_NOT, *BY_NAME])
    assert set(BY_NAME.values()) <= set(globals())


@pytest.mark.slow
@pytest.mark.parametrize("key", MATTERS)
def test_another_value_changes_the_bytes(runs, key):
    case = MATTERS[key]
    name = key.replace("NAME", "mine_pseudo" if key == "arms.NAME.teacher" else "mine")
    before = runs.outcome(case.stage, case.arm, case.under)
    after = runs.outcome(case.stage, case.arm, case.under | {name: case.value})
    assert before != after


@pytest.mark.slow
@pytest.mark.parametrize("key", MUST_NOT)
def test_some_keys_must_not_change_a_byte(runs, key):
    stage, arm = ("pretrain", "cross") if key.startswith("pretrain") else ("finetune", "scratch")
    value, _ = MUST_NOT[key]
    assert runs.outcome(stage, arm, {}) == runs.outcome(stage, arm, {key: value})


@pytest.mark.slow
def test_a_run_repeats_itself(runs):
    """Else every key would seem to change something."""
    for stage, arm in (("pretrain", "cross"), ("finetune", "scratch"), ("evaluate", "scratch"),
                       ("pseudolabel", "scratch_pseudo"), ("student", "scratch_pseudo"),
                       ("images", ""), ("plan", "")):  # fmt: skip
        first = runs.outcome(stage, arm, {})
        runs.known.clear()
        assert runs.outcome(stage, arm, {}) == first, stage


@pytest.mark.slow
def test_another_dataset_gives_other_images():
    names = {name: experiment.load([], {"dataset": name}).info.class_names
             for name in ("shapes", "camvid", "voc2012", "cityscapes")}  # fmt: skip
    assert len(set(names.values())) == 4


@pytest.mark.slow
def test_an_audited_list_gets_a_row(tmp_path):
    """The workflow waits for the list; tests/test_audit.py shows its row."""
    for listed, code in (("absent.txt", 1), (str(tmp_path / "there.txt"), 0)):
        (tmp_path / "there.txt").write_text("train_0000\n")
        path = overlay(tmp_path, f"audit_lists: [{listed}]")
        done = snakemake(tmp_path, "-n", "audit", "--configfile", str(SMOKE), path)
        assert done.returncode == code, done.stderr
        assert ("absent.txt" in done.stderr) == (code == 1) or listed in done.stdout


@pytest.mark.slow
def test_the_device_is_the_one_asked_for(runs):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    assert runs.outcome("finetune", "scratch", {"device": "auto"}) == runs.outcome(
        "finetune", "scratch", {}
    )
    with pytest.raises(ConfigError, match="device is cuda"):
        runs.outcome("finetune", "scratch", {"device": "cuda"})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")
def test_a_compiled_network_learns_the_same(runs):
    steady = {"model.aspp_dropout": 0.0}  # compiled code draws other numbers
    plain, compiled = (runs.outcome("finetune", "scratch", steady | {"compile": value})
                       for value in (False, True))  # fmt: skip
    assert plain != compiled  # it rounds in another order
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-4)


@pytest.mark.slow
def test_prepared_images_are_the_same_images(runs, tmp_path):
    pixels, places = tmp_path / "pixels", tmp_path / "places.csv"
    prepare(
        runs.data.index, runs.data.dataset, short_side=None, workers=1, pixels=pixels, places=places
    )
    settings = experiment.load([SMOKE], TINY).run_settings("scratch", 0)
    data = replace(runs.data, pixels=pixels, places=places)
    first, second = (trained("finetune", source, settings, tmp_path / str(number))
                     for number, source in enumerate((runs.data, data)))  # fmt: skip
    assert first.curve.read_bytes() == second.curve.read_bytes()
    one, other = (checkpoint.load(out.weights, "finetune")["network"] for out in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)
    shown = [snakemake(tmp_path, "-n", "--configfile", str(SMOKE), overlay(tmp_path, text)).stdout
             for text in ("prepared_cache: true", "prepared_cache: false")]  # fmt: skip
    assert [": prepare\n" in text for text in shown] == [True, False]


@pytest.mark.slow
def test_engines_agree_up_to_rounding(runs):
    found = {name: runs.outcome("pretrain", "cross", {"pretrain.backend": name})
             for name in ("auto", "dense", "tiled")}  # fmt: skip
    assert found["dense"] != found["tiled"]
    assert losses(found["dense"]) == pytest.approx(losses(found["tiled"]), rel=1e-4)
    assert found["auto"] in (found["dense"], found["tiled"])


@pytest.mark.slow
def test_every_fact_of_given_weights_matters(runs, tmp_path):
    paths = [tmp_path / f"{seed}.pth" for seed in (1, 2)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        torch.save(build_network("tf_efficientnet_lite0", 32).state_dict(), path)

    def given(place=paths[0], **changes):
        facts = {"weights": str(place), "sha256": sha256_file(place), "data": "a", "licence": "b"}
        start = facts | changes
        return {"run_arms": ["mine"], "arms.mine": {"init": start, "scope": "none"}}

    first = runs.outcome("finetune", "mine", given())
    assert runs.outcome("finetune", "mine", given(paths[1])) != first
    assert runs.outcome("finetune", "mine", given(mean=[0.1, 0.2, 0.3], std=[1, 1, 1])) != first
    one, two = ({"mean": [0.1, 0.2, 0.3], "std": [width] * 3} for width in (1.0, 0.5))
    assert runs.outcome("finetune", "mine", given(**one)) != runs.outcome(
        "finetune", "mine", given(**two)
    )
    with pytest.raises(CsegError, match="sha256"):
        runs.outcome("finetune", "mine", given(sha256="0" * 64))
    settings = experiment.load([SMOKE], experiment.merge(TINY, nested(given())))
    out = trained("finetune", runs.data, settings.run_settings("mine", 0), tmp_path / "run")
    start = checkpoint.load(out.weights, "finetune")["start"]
    assert (start["data"], start["licence"]) == ("a", "b")


def losses(outcome: str) -> list[float]:
    """The column of losses of an outcome that ends with a curve."""
    rows = [row.split(",") for row in outcome.splitlines()]
    first = next(number for number, row in enumerate(rows) if row[:2] == ["step", "loss"])
    return [float(row[1]) for row in rows[first + 1 :]]
