"""The runs on larger budgets: equal trials, and nothing that is reported decides a rate."""

from itertools import pairwise
from pathlib import Path

import pytest
from small_runs import ROOT

from cseg import experiment

CONFIGS = ROOT / "workflow" / "configs"
EVIDENCE = CONFIGS / "evidence"
DATA = {"micrographs": EVIDENCE / "micrographs_unlabelled.yaml", "camvid": CONFIGS / "camvid.yaml"}
ARMS = {"scratch", "scratch_distorted", "scratch_consistency", "within", "cross", "imagenet",
        "imagenet_cross"}  # fmt: skip


def trials(data: str) -> list[Path]:
    return [DATA[data], EVIDENCE / "tune_budgets.yaml", EVIDENCE / f"tune_budgets_{data}.yaml"]


@pytest.mark.parametrize("data", DATA)
def test_every_arm_has_six_trials_of_2400_steps_on_one_seed(data: str):
    loaded = experiment.load(trials(data))
    assert {arm: len(names) for arm, names in loaded.ablations.items()} == dict.fromkeys(ARMS, 6)
    tried = [name for names in loaded.ablations.values() for name in names.values()]
    assert sorted(tried) == sorted(loaded.run_arms) and len(set(tried)) == 42
    assert loaded.seeds == (100,)
    for arm, names in loaded.ablations.items():
        for name in names.values():
            settings = loaded.run_settings(name, 100)
            before = settings.pretrain.steps if loaded.scope(name) != "none" else 0
            assert before + settings.finetune.steps == 2400, name
            assert loaded.scope(name) == {"within": "within", "cross": "cross",
                                          "imagenet_cross": "cross"}.get(arm, "none")  # fmt: skip


@pytest.mark.parametrize("data", DATA)
def test_the_last_three_trials_of_an_arm_have_one_of_its_first_three_rates(data: str):
    loaded = experiment.load(trials(data))
    for arm in ("within", "cross", "imagenet_cross"):
        settings = [loaded.run_settings(name, 100) for name in loaded.ablations[arm].values()]
        rates = [each.finetune.lr for each in settings]
        assert rates[:3] == [0.03, 0.1, 0.3] and set(rates[3:]) <= set(rates[:3])
        assert all(one == other for one, other in pairwise(rates[3:])), arm
        shares = [(each.pretrain.steps, each.pretrain.distortion) for each in settings]
        assert shares == [(1200, 1)] * 3 + [(600, 1), (1200, 0), (600, 0)]
