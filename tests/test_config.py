"""The config: merged by key, checked by key, resolved by arm."""

import copy
import math

import pytest
import yaml
from small_runs import ROOT

from cseg import experiment
from cseg.errors import ConfigError

OVERLAYS = sorted((ROOT / "workflow" / "configs").glob("*.yaml"))
WHOLE = experiment.load([])


def changed(path: str, value):
    config = copy.deepcopy(WHOLE)
    *parents, last = path.split(".")
    place = config
    for name in parents:
        place = place[name]
    place[last] = value
    return config


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_we_ship_is_valid(overlay):
    config = experiment.load([overlay])
    for arm in config["run_arms"]:
        experiment.arm_settings(config, arm, 0)


def test_overlays_replace_single_keys(tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("finetune: {lr: 0.5}\nseeds: [7]\n")
    config = experiment.load([overlay])
    assert config["finetune"] == {**WHOLE["finetune"], "lr": 0.5}
    assert config["seeds"] == [7] and config["arms"] == WHOLE["arms"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("learning_rate", 1, "learning_rate is unknown"),
        ("finetune.learning_rate", 1, r"finetune\.learning_rate is unknown"),
        ("finetune.lr", "1e-3", r"finetune\.lr is wrong.*above 0"),
        ("finetune.batch", 1, r"finetune\.batch is wrong.*at least 2"),
        ("pretrain.grid", [8], r"pretrain\.grid is wrong"),
        ("pretrain.grid", [8, "x"], r"pretrain\.grid\.1 is wrong"),
        ("dataset", "imagenet22k", "dataset is 'imagenet22k'.*choose one of"),
        ("dataset_options", {"shapes": {"sise": 48}}, "sise"),
        ("dataset_options", {"shapes": {"train": 0}}, "shapes: train is 0; give at least 1"),
        ("results_dir", "runs/{arm}", "results_dir is wrong.*without braces"),
        ("data_dir", "a\0b", "data_dir is wrong.*without braces"),
        ("label_lists", {"mine": "{n}.txt"}, r"label_lists\.mine is wrong.*without braces"),
        ("model.encoder", "vgg16", r"model\.encoder is 'vgg16'; choose one of"),
        ("model.encoder", "resnet50", r"model\.blocks is 5, but only efficientnet_lite0"),
        ("run_arms", ["scratch", "croos"], "run_arms names 'croos'"),
        ("run_arms", [], "run_arms is wrong"),
        ("label_counts", [16, 513], "513 is more than the 512"),
        ("label_counts", [16, 16], "names a count twice"),
        ("label_counts", ["many"], "label_counts"),
        ("label_lists", {"all": "list.txt"}, "label_lists is wrong"),
        ("label_lists", {"u2pl": 92}, r"label_lists\.u2pl is wrong.*give a path"),
        ("audit_lists", "list.txt", "audit_lists is wrong.*list of paths"),
        ("prepared_cache", "yes", "prepared_cache is wrong.*true or false"),
        ("seeds", [0, 0], "seeds is wrong"),
        ("seeds", [-1], r"seeds\.0 is wrong"),
        ("budget", "fair", "budget is 'fair'; choose one of"),
        ("arms.cross.scope", "sideways", r"arms\.cross\.scope is 'sideways'"),
        ("arms.cross.overrides", {"pretrain": {"tau": 1}}, r"cross\.overrides.*tau is unknown"),
        ("arms.cross.overrides", {"model": {"blocks": 4}}, r"model\.blocks is unknown"),
        ("arms.cross.overrides", {"model": {"head": "tall"}}, "cross.*head is 'tall'; choose one"),
        ("arms.cross.overrides", {"budget": "fair"}, "budget is 'fair'; choose one of"),
        ("ablations", {"head": {"a": "cross", "b": "croos"}}, r"head\.b names 'croos'.*run_arms"),
        ("ablations", {"head": {"a": "cross"}}, r"ablations\.head is wrong.*at least two"),
        ("ablations", {"tau": {0.1: "cross", "b": "within"}}, r"ablations\.tau is wrong.*quotes"),
        ("arms.Cross", {"init": "random", "scope": "none"}, "Cross"),
        ("arms", {1: {"init": "random", "scope": "none"}}, r"arms is wrong: 1 .*an arm's name"),
        ("label_lists", {1: "list.txt"}, "label_lists is wrong: 1 .*a list's name"),
        ("label_lists", {"mine\n": "list.txt"}, "label_lists is wrong.*a list's name"),
        ("finetune.lr", math.nan, r"finetune\.lr is wrong: nan"),
        ("pretrain.temperature", math.inf, r"pretrain\.temperature is wrong: inf"),
        ("seeds", [0.0], r"seeds\.0 is wrong.*a whole number"),
        ("finetune.steps", 6.0, r"finetune\.steps is wrong: 6\.0"),
        ("device", "tpu", "device is 'tpu'"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_in_one_sentence(path, value, said):
    with pytest.raises(ConfigError, match=said) as caught:
        experiment.check(changed(path, value))
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    config = copy.deepcopy(WHOLE)
    del config["finetune"]["steps"]
    with pytest.raises(ConfigError, match=r"finetune\.steps is missing"):
        experiment.check(config)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "cannot be read"), ("- a\n- b\n", "holds no keys"), (None, "cannot be read")],
)
def test_unreadable_files_are_named(tmp_path, text, said):
    path = tmp_path / "broken.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"broken.yaml {said}"):
        experiment.load([path])


def test_equal_steps_gives_every_arm_the_same_total():
    totals = set()
    for arm in WHOLE["arms"]:
        settings = experiment.arm_settings(WHOLE, arm, 0)
        pretraining = settings["pretrain"]["steps"] if settings["scope"] != "none" else 0
        totals.add(pretraining + settings["finetune"]["steps"])
    assert len(totals) == 1


def test_equal_finetune_gives_every_arm_the_same_second_stage():
    config = {**WHOLE, "budget": "equal_finetune"}
    steps = {experiment.arm_settings(config, a, 0)["finetune"]["steps"] for a in WHOLE["arms"]}
    assert steps == {WHOLE["finetune"]["steps"]}


def test_equal_time_counts_a_contrastive_step_at_its_cost():
    config = {**WHOLE, "budget": "equal_time", "contrast_step_cost": 2.5}
    alone = experiment.arm_settings(config, "scratch", 0)["finetune"]["steps"]
    pretrained = experiment.arm_settings(config, "cross", 0)
    stages = pretrained["finetune"]["steps"], pretrained["pretrain"]["steps"]
    assert alone == stages[0] + 2.5 * stages[1]


def test_an_arms_overrides_reach_only_that_arm():
    plain = experiment.arm_settings(WHOLE, "scratch", 0)["finetune"]
    distorted = experiment.arm_settings(WHOLE, "scratch_distorted", 0)["finetune"]
    assert plain["distortion"] == 0.0 and distorted["distortion"] > 0
    assert {**distorted, "distortion": 0.0} == plain


def test_an_arm_may_have_its_own_head_and_budget():
    config = changed(
        "arms.scratch.overrides", {"model": {"head": "released"}, "budget": "equal_finetune"}
    )
    settings = experiment.arm_settings(config, "scratch", 0)
    assert settings["model"] == {**WHOLE["model"], "head": "released"}
    assert settings["budget"] == "equal_finetune"
    assert settings["finetune"]["steps"] == WHOLE["finetune"]["steps"]
    assert experiment.arm_settings(config, "cross", 0)["model"] == WHOLE["model"]


def test_ablations_vary_what_their_group_says_and_nothing_else():
    config = experiment.load([ROOT / "workflow" / "configs" / "ablations.yaml"])
    varied = {"colour distortion": "distortion", "temperature": "temperature",
              "grid of the loss": "grid", "pretraining steps": "steps"}  # fmt: skip
    for group, key in varied.items():
        arms = [arm for arm in config["ablations"][group].values() if arm.startswith("cross")]
        blocks = [experiment.arm_settings(config, arm, 0) for arm in arms]
        values = [str(block["pretrain"].pop(key)) for block in blocks]
        assert len(set(values)) == len(arms) > 1
        assert all(block == blocks[0] for block in blocks)
    assert set(config["run_arms"]) == {
        arm for settings in config["ablations"].values() for arm in settings.values()
    }


def test_schema_and_config_name_the_same_keys():
    """Every key of config.yaml is described, and every key of the schema is in config.yaml."""
    schema = yaml.safe_load(experiment.SCHEMA.read_text())
    assert set(schema["properties"]) == set(WHOLE) == set(schema["required"])
    for block in ("image", "model", "evaluate"):
        assert set(schema["properties"][block]["properties"]) == set(WHOLE[block])
    for block in ("pretrain", "finetune"):
        assert set(schema["$defs"][block]["properties"]) == set(WHOLE[block])
