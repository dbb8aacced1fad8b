"""A painted dataset and settings so small that a stage runs in a second."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from cseg import experiment
from cseg.settings.keys import build, plain
from cseg.settings.run import RunSettings
from cseg.stages.fetch import fetch
from cseg.stages.index import index
from cseg.stages.run import RunInputs
from cseg.stages.subset import subset

ROOT = Path(__file__).parent.parent
SMOKE = ROOT / "workflow" / "configs" / "smoke.yaml"


@cache
def small_experiment() -> experiment.Experiment:
    """The smoke config, on a CPU."""
    return experiment.load([SMOKE], {"device": "cpu"})


def small_settings(arm: str = "cross", seed: int = 0, **changes: Any) -> RunSettings:
    """The smoke config's settings of one arm, with some keys, or keys of blocks, replaced."""
    return changed(small_experiment().run_settings(arm, seed), **changes)


def changed(settings: RunSettings, **changes: Any) -> RunSettings:
    """Settings with some keys, or keys of blocks, replaced."""
    return build(RunSettings, experiment.merge(plain(settings), changes))


def small_data(folder: Path, n: int = 4, seed: int = 0) -> RunInputs:
    """Paint, index and sample; returns what a run reads."""
    data = RunInputs(
        index=folder / "index.csv",
        dataset=folder / "dataset.json",
        subset=folder / f"n{n}_seed{seed}.csv",
    )
    options = small_experiment().options
    fetch("shapes", folder / "data", options=options, out=folder / "fetch.json")
    index(folder / "fetch.json", data.index, dataset_json=data.dataset, workers=1)
    subset(data.index, data.dataset, n=n, seed=seed, out=data.subset)
    return data


def used_with(overlay: Path) -> list[Path]:
    """The overlays of the command in its first lines; itself alone, if there is none."""
    text = re.match(r"(#.*\n)*", overlay.read_text())[0].replace("\\\n#", "")
    named = re.search(r"--configfile((?: +workflow/configs/\S+\.yaml)+)", text)
    return [ROOT / name for name in named[1].split()] if named else [overlay]
