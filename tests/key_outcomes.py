"""What a config leads to: the bytes of one stage of a tiny run, without what tells of time."""

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from small_runs import SMOKE, small_data
from stage_runs import evaluated, trained

from cseg import experiment
from cseg.experiment import Experiment
from cseg.model import checkpoint
from cseg.settings.keys import plain
from cseg.settings.run import RunSettings
from cseg.stages.fetch import fetch
from cseg.stages.index import index
from cseg.stages.pseudolabel import PseudolabelOutputs, pseudolabel
from cseg.stages.run import RunInputs
from cseg.stages.subset import subset
from cseg.storage.files import write_text
from cseg.storage.index_and_subset import read_index

TINY = {
    "device": "cpu",
    "budget": "equal_finetune",
    "pretrain": {"steps": 3, "lr": 0.3, "warmup_steps": 1},
    "finetune": {"steps": 3, "lr": 0.3, "warmup_steps": 1},
}
SURELY = re.compile("seconds$|settings_fingerprint|revision")  # change without a change of results


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key in dots, as a config has them."""
    config: dict[str, Any] = {}
    for name, value in values.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        config = experiment.merge(config, value)
    return config


class Runs:
    """Runs stages on painted scenes in a folder; outcomes are text that is equal if bytes are."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.data = small_data(folder)
        self.known: dict[str, str] = {}
        ids = read_index(self.data.index)["id"]
        for number, name in enumerate(("a.txt", "b.txt")):
            write_text(folder / name, f"{ids[number]}\n")

    def outcome(self, stage: str, arm: str, values: Mapping[str, Any]) -> str:
        """What a stage (a method of this class) gives under some values by key."""
        asked = repr((stage, arm, sorted(values.items())))
        if asked not in self.known:
            config = experiment.merge(TINY, nested(values))
            self.known[asked] = getattr(self, stage)(experiment.load([SMOKE], config), arm)
        return self.known[asked]

    @cached_property
    def weights(self) -> Path:
        """A network that is sure of some pixels."""
        longer = experiment.merge(TINY, {"finetune": {"steps": 40}})
        settings = experiment.load([SMOKE], longer).run_settings("scratch", 0)
        return trained("finetune", self.data, settings, self.place()).weights

    def place(self) -> Path:
        """A new folder."""
        self.count += 1
        return self.folder / str(self.count)

    def plan(self, config: Experiment, arm: str) -> str:
        """What is planned: the runs, where their files are, and the settings of each."""
        settings = [plain(config.run_settings(run.arm, run.seed)) for run in config.runs()]
        return repr((config.results, config.manifest(), config.counts, settings))

    def images(self, config: Experiment, arm: str) -> str:
        """What is fetched and indexed."""
        folder = self.place()
        source = folder / config.data_dir
        source.mkdir(parents=True)
        fetched, out = folder / "fetch.json", folder / "index.csv"
        fetch(config.dataset, source, options=config.options, out=fetched)
        index(fetched, out, dataset_json=folder / "dataset.json", workers=1)
        return out.read_text().replace(str(folder), "")

    def lists(self, config: Experiment, arm: str) -> str:
        """The subsets of the published lists, which are in the folder."""
        out = self.place()
        for name, path in config.label_lists.items():
            source = self.folder / path
            subset(self.data.index, self.data.dataset, n=name, seed=0, out=out, list_path=source)
        return out.read_text()

    def pretrain(self, config: Experiment, arm: str) -> str:
        """The weights and the curve of pretraining."""
        return self._trained("pretrain", self.data, config.run_settings(arm, 0))

    def finetune(self, config: Experiment, arm: str) -> str:
        """The weights and the curve of fine-tuning."""
        return self._trained("finetune", self.data, config.run_settings(arm, 0))

    def further(self, config: Experiment, arm: str) -> str:
        """The weights and the curve of fine-tuning a network that has learned something."""
        inputs = replace(self.data, pretrained=self.weights)
        return self._trained("finetune", inputs, config.run_settings(arm, 0))

    def student(self, config: Experiment, arm: str) -> str:
        """The weights and the curve of fine-tuning on pseudo labels too."""
        settings = config.run_settings(arm, 0)
        labels = self._pseudolabelled(settings)
        start = self.weights if config.continues(arm) else None
        inputs = replace(self.data, pseudo=labels.listing, pretrained=start)
        return self._trained("finetune", inputs, settings)

    def pseudolabel(self, config: Experiment, arm: str) -> str:
        """The pseudo labels."""
        labels = self._pseudolabelled(config.run_settings(arm, 0)).labels
        return digest(path.read_bytes() for path in sorted(labels.glob("*.png")))

    def evaluate(self, config: Experiment, arm: str) -> str:
        """The rows and the predictions."""
        folder = self.place()
        folder.mkdir()
        settings = config.run_settings(arm, 0)
        out = evaluated(self.data, settings, self.weights, folder, arm)
        row = next(csv.DictReader(out.metrics.open()))
        kept = {name: value for name, value in row.items() if not SURELY.search(name)}
        return f"{kept} {digest([out.predictions.read_bytes()])}"

    def _trained(self, stage: str, data: RunInputs, settings: RunSettings) -> str:
        out = trained(stage, data, settings, self.place(), data.pretrained)
        state = checkpoint.load(out.weights, stage)["network"]
        parts = (value.numpy().tobytes() for value in state.values())
        return f"{list(state)} {digest(parts)}\n{out.curve.read_text()}"

    def _pseudolabelled(self, settings: RunSettings) -> PseudolabelOutputs:
        folder = self.place()
        folder.mkdir()
        out = PseudolabelOutputs(
            labels=folder / "labels", listing=folder / "list.csv", quality=folder / "quality.csv"
        )
        pseudolabel(self.data, settings, teacher=self.weights, out=out, threads=1)
        return out


def digest(parts: Iterator[Any] | list[bytes]) -> str:
    """SHA-256 of bytes one after the other."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()
