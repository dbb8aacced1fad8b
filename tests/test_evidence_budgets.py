"""The runs on larger budgets: equal trials, and nothing that is reported decides a rate."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from small_runs import ROOT

from cseg import experiment
from cseg.experiment.definition import Experiment
from cseg.settings import RunSettings

CONFIGS = ROOT / "workflow" / "configs"
EVIDENCE = CONFIGS / "evidence"
DATA = {"micrographs": EVIDENCE / "micrographs_unlabelled.yaml", "camvid": CONFIGS / "camvid.yaml"}
ARMS = {"scratch", "scratch_distorted", "scratch_consistency", "within", "cross", "imagenet",
        "imagenet_cross"}  # fmt: skip


@cache
def trials(data: str) -> Experiment:
    paths = [EVIDENCE / "tune_budgets.yaml", EVIDENCE / f"tune_budgets_{data}.yaml"]
    return experiment.load([DATA[data], *paths])


@pytest.mark.parametrize("data", DATA)
def test_every_arm_has_six_trials_of_2400_steps_on_one_seed(data: str):
    loaded = trials(data)
    assert {arm: len(names) for arm, names in loaded.ablations.items()} == dict.fromkeys(ARMS, 6)
    tried = [name for names in loaded.ablations.values() for name in names.values()]
    assert sorted(tried) == sorted(loaded.run_arms) and len(set(tried)) == 42
    assert loaded.seeds == (100,)
    for arm, names in loaded.ablations.items():
        for name in names.values():
            at_2400(loaded, name, 2400)
            assert loaded.scope(name) == {"within": "within", "cross": "cross",
                                          "imagenet_cross": "cross"}.get(arm, "none")  # fmt: skip


@pytest.mark.parametrize("data", DATA)
def test_the_last_three_trials_of_an_arm_have_one_of_its_first_three_rates(data: str):
    loaded = trials(data)
    for arm in ("within", "cross", "imagenet_cross"):
        settings = [loaded.run_settings(name, 100) for name in loaded.ablations[arm].values()]
        rates = [each.finetune.lr for each in settings]
        assert rates[:3] == [0.03, 0.1, 0.3] and set(rates[3:]) <= set(rates[:3])
        assert all(one == other for one, other in pairwise(rates[3:])), arm
        shares = [(each.pretrain.steps, each.pretrain.distortion) for each in settings]
        assert shares == [(1200, 1)] * 3 + [(600, 1), (1200, 0), (600, 0)]


def reported(data: str, budget: int) -> Experiment:
    larger = [EVIDENCE / f"budgets_{budget}.yaml"] if budget > 2400 else []
    return experiment.load([DATA[data], EVIDENCE / f"budgets_{data}.yaml", *larger])


def at_2400(loaded: Experiment, arm: str, budget: int) -> RunSettings:
    """The settings of an arm, its steps as shares of 2,400."""
    made = loaded.run_settings(arm, 0)
    before = made.pretrain.steps if loaded.scope(arm) != "none" else 0
    assert before + made.finetune.steps == budget, arm
    return replace(
        made,
        pretrain=replace(made.pretrain, steps=before * 2400 // budget),
        finetune=replace(made.finetune, steps=made.finetune.steps * 2400 // budget),
    )


@pytest.mark.parametrize("budget", [2400, 7200, 24000])
@pytest.mark.parametrize("data", DATA)
def test_every_reported_arm_has_the_budget_and_the_settings_of_one_of_its_trials(
    data: str, budget: int
):
    loaded, tried = reported(data, budget), trials(data)
    assert set(loaded.run_arms) == ARMS
    assert (loaded.seeds, loaded.label_counts) == ((0, 1, 2), tried.label_counts)
    for arm in loaded.run_arms:
        possible = [at_2400(tried, name, 2400) for name in tried.ablations[arm].values()]
        assert at_2400(loaded, arm, budget) in possible, arm
        assert loaded.arms[arm].init == ("imagenet" if "imagenet" in arm else "random")


@pytest.mark.parametrize("data", DATA)
def test_images_that_decide_are_not_reported(data: str):
    options = [each.dataset_options for each in (trials(data), reported(data, 2400))]
    split = [each["camvid"]["val_split"] if data == "camvid"
             else each["folder"]["description"]["val"] for each in options]  # fmt: skip
    assert split == (["val", "test"] if data == "camvid" else ["val_12_14.txt", "val.txt"])
    if data == "micrographs":
        train = {each["folder"]["description"]["train"] for each in options}
        assert train == {"train_00_11.txt"}
