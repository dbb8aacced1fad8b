"""What an experiment is: the keys of its config, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from cseg.datasets import dataset_module, typed_options
from cseg.datasets.samples import DatasetInfo
from cseg.settings.keys import build, key, merge, plain, types
from cseg.settings.label_counts import Count, count_token
from cseg.settings.network import INIT, Head, Init
from cseg.settings.run import SEED, Budget, RunSettings, Seed, SharedSettings
from cseg.settings.training import PseudolabelSettings, ScopeOrNone
from cseg.storage.files import fingerprint

NAME = "[a-z][a-z0-9_]*"
PATH = {  # Snakemake takes braces in a path for wildcards
    "pattern": r"[^{}\x00-\x1f]+", "wants": "a path without braces and control characters",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HeadOverrides:
    """Keys of model that only pretraining sees."""

    head: Head | None = key("this arm's projection head", default=None)
    projection_channels: int | None = key(
        "channels of this arm's projection head", default=None, ge=1, le=4096
    )


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What one arm sets differently; fine-tuning drops the head, so all evaluate one network."""

    pretrain: Mapping[str, Any] = key("keys of pretrain", default={})
    finetune: Mapping[str, Any] = key("keys of finetune", default={})
    model: HeadOverrides = HeadOverrides()
    budget: Budget | None = key("this arm's own budget", default=None)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to start and to learn."""

    init: Init = key("start of the encoder", wants=INIT)
    scope: ScopeOrNone = key("scope of the contrastive pretraining; none for no pretraining")
    teacher: str | None = key(
        "arm whose network labels the unlabelled images", default=None, wants="the name of an arm"
    )
    pretrained_by: str | None = key(
        "arm whose pretraining, of the same subset and seed, this arm starts from as well",
        default=None, wants="the name of an arm",
    )  # fmt: skip
    overrides: Overrides = Overrides()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One arm at one label count and seed."""

    arm: str
    n: str  # as it stands in paths
    seed: int
    stages: tuple[str, ...]  # its rules, in order; no evaluate if the run only helps others
    # arms whose runs of the same n and seed come first: the teacher, or what pretrains for it
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Experiment(SharedSettings):
    """A whole config, checked; `cseg.experiment.load` and `parse` make one."""

    dataset: str = key("name of the dataset", wants="the name of a dataset")
    dataset_options: Mapping[str, Mapping[str, Any]] = key(
        "options by dataset name (docs/datasets.md); only the chosen dataset's are read",
        default={}, wants="a mapping of options by dataset name",
    )  # fmt: skip
    data_dir: str = key("folder where datasets are, or where to put them", default="data", **PATH)
    results_dir: str = key(
        "folder of all results; those of an experiment go to {results_dir}/{name of the dataset}/",
        default="results", **PATH,
    )  # fmt: skip
    prepared_cache: bool = key(
        "decode the training images once, into the results' folder cache/; same pixels",
        default=False,
    )
    jobs_per_gpu: int = key(
        "jobs that share a GPU of this machine; 1 gives each its own. Results do not depend on it",
        default=1, ge=1, le=64, unit="jobs",
    )  # fmt: skip
    run_arms: tuple[str, ...] = key(
        "arms to run", least=1, unique=True, wants="a list of different arm names, at least one"
    )
    reference_arm: str | None = key(
        "arm of run_arms that tables compare the others with; null takes scratch if it runs, else "
        "the first of run_arms",
        default=None, wants="the name of an arm of run_arms",
    )  # fmt: skip
    label_counts: tuple[int | float | str, ...] = key(
        "labelled images: numbers, fractions such as 1/30, all, or names of label_lists",
        least=1, wants="a list of labelled-image counts, at least one",
    )  # fmt: skip
    label_lists: Mapping[str, str] = key(
        "published lists by name; a name may stand in label_counts",
        default={}, names=f"(?!all$){NAME}", values=PATH,
        named="a list's name, of lower-case letters, digits and underscores, not all",
        wants="a mapping from names to paths of published lists",
    )  # fmt: skip
    audit_lists: tuple[str, ...] = key(
        "lists, or folders of lists, that the rule audit compares with our subsets",
        default=(), unique=True, pattern=PATH["pattern"], wants="a list of paths",
    )  # fmt: skip
    seeds: tuple[int | Seed, ...] = key(
        "seeds; each draws its own subsets, initial weights and augmentation. {subset: 0, init: 2} "
        "names apart what draws the subsets and what draws all else; init names the run",
        least=1, unique=True, **SEED,
        wants="a list of different whole numbers from 0 to 1000000, or of {subset: number, init: "
        "number}, at least one",
    )  # fmt: skip
    contrast_step_cost: float = key(
        "time of a contrastive step divided by that of a fine-tuning step, for equal_time",
        default=1.9, gt=0, le=100,
    )  # fmt: skip
    consistency_step_cost: float = key(
        "time of a fine-tuning step with consistency divided by that of one without, for "
        "equal_time",
        default=2.1, gt=0, le=100,
    )  # fmt: skip
    arms: Mapping[str, Arm] = key(
        "arms by name", least=1, names=NAME, wants="a mapping from arm names to arms",
        named="an arm's name, of lower-case letters, digits and underscores",
    )  # fmt: skip
    ablations: Mapping[str, Mapping[str, str]] = key(
        "tables of arms that differ in one thing, by group and setting; the first setting of a "
        "group is what the others are compared with",
        default={}, wants="a mapping from groups to mappings from settings to arms",
        named="a group's name, a text: put numbers in quotes",
        values={
            "least": 2, "wants": "a mapping from at least two settings to arms",
            "named": "a setting's name, a text: put numbers in quotes",
            "values": {"wants": "the name of an arm of run_arms"},
        },
    )  # fmt: skip
    pseudolabel: PseudolabelSettings = PseudolabelSettings()

    @cached_property
    def info(self) -> DatasetInfo:
        """What the dataset is; a folder's description is read once."""
        options = typed_options(self.dataset, self.options)
        info: DatasetInfo = dataset_module(self.dataset).info(options)
        return info

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the chosen dataset."""
        return self.dataset_options.get(self.dataset, {})

    @property
    def name(self) -> str:
        """Name of the dataset, which names the folder of the results."""
        return self.info.name

    @property
    def results(self) -> str:
        """The folder of this experiment's results."""
        return f"{self.results_dir}/{self.name}"

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        usual = "scratch" if "scratch" in self.run_arms else self.run_arms[0]
        return self.reference_arm or usual

    @property
    def starts(self) -> dict[str, str]:
        """By arm, what stands in paths for where its encoder starts."""
        return {
            name: arm.init
            if isinstance(arm.init, str)
            else f"weights_{fingerprint(plain(arm.init))[:8]}"
            for name, arm in self.arms.items()
        }

    @property
    def counts(self) -> dict[str, Count]:
        """The label counts by what stands for them in paths: their token, or a list's name."""
        return {str(n) if n in self.label_lists else count_token(n): n for n in self.label_counts}

    @property
    def helpers(self) -> tuple[str, ...]:
        """Arms that run for others only: teachers, and those that pretrain for another arm."""
        needed = {other for arm in self.run_arms for other in self.needs(arm)}
        needed |= {other for arm in needed for other in self.needs(arm)}  # a teacher's; they end it
        return tuple(sorted(needed - set(self.run_arms)))

    @property
    def subset_seeds(self) -> dict[int, int]:
        """By seed of a run, the seed of its labelled subset."""
        pairs = (each if isinstance(each, Seed) else Seed(subset=each, init=each)
                 for each in self.seeds)  # fmt: skip
        return {pair.init: pair.subset for pair in pairs}

    def continues(self, arm: str) -> bool:
        """Whether an arm starts at its teacher's end."""
        return self.arms[arm].teacher is not None and self.pseudolabel.student == "teacher"

    def scope(self, arm: str) -> ScopeOrNone:
        """Scope of an arm's pretraining: none if it starts at its teacher's end."""
        return "none" if self.continues(arm) else self.arms[arm].scope

    def shared(self, arm: str) -> SharedSettings:
        """The shared settings with an arm's overrides; a ConfigError names one that is wrong."""
        overrides = plain(self.arms[arm].overrides)
        own = {name: plain(getattr(self, name)) for name in types(SharedSettings)}
        changes = {name: value for name, value in overrides.items() if value}
        changes["model"] = {name: v for name, v in overrides["model"].items() if v is not None}
        return build(SharedSettings, merge(own, changes), f"arms.{arm}.overrides")

    def run_settings(self, arm: str, seed: int) -> RunSettings:
        """The settings of one run: overrides, seed and share of the budget.

        An arm without pretraining fine-tunes for the steps of both stages under `equal_steps`, for
        about their time under `equal_time` (a contrastive step counts as `contrast_step_cost`
        steps), and for `finetune.steps`, as every arm, under `equal_finetune`. An arm with
        consistency has so many fewer steps under `equal_time` as each costs more.
        """
        chosen, shared, scope = self.arms[arm], self.shared(arm), self.scope(arm)
        steps = float(shared.finetune.steps)
        if scope == "none":
            worth = {"equal_steps": 1, "equal_time": self.contrast_step_cost, "equal_finetune": 0}
            steps += worth[shared.budget] * shared.pretrain.steps
        if shared.finetune.consistency.weight and shared.budget == "equal_time":
            steps /= self.consistency_step_cost
        shared = replace(shared, finetune=replace(shared.finetune, steps=max(1, round(steps))))
        return RunSettings(
            **{name: getattr(shared, name) for name in types(SharedSettings)},
            init=chosen.init,
            scope=scope,
            seed=seed,
            pseudolabel=self.pseudolabel if chosen.teacher else None,
        )

    def needs(self, arm: str) -> tuple[str, ...]:
        """The arms whose runs come before those of an arm."""
        chosen = self.arms[arm]
        return tuple(other for other in (chosen.teacher, chosen.pretrained_by) if other)

    def stages(self, arm: str) -> tuple[str, ...]:
        """The rules of an arm's runs, in order."""
        chosen = self.arms[arm]
        stages = {
            "pseudolabel": chosen.teacher is not None,
            "pretrain": self.scope(arm) != "none" and chosen.pretrained_by is None,
            "finetune": arm in self.run_arms
            or any(self.arms[other].teacher == arm for other in self.run_arms),
            "evaluate": arm in self.run_arms,
        }
        return tuple(stage for stage, runs in stages.items() if runs)

    def runs(self, arms: tuple[str, ...] = ()) -> list[Run]:
        """Every run of `arms`, those of `run_arms` by default, in the order of the config."""
        return [
            Run(arm=arm, n=n, seed=seed, stages=self.stages(arm), needs=self.needs(arm))
            for arm in arms or self.run_arms
            for n in self.counts
            for seed in self.subset_seeds
        ]

    def manifest(self) -> dict[str, Any]:
        """What the results' tables, page and status need to know of the plan, as plain values."""
        return {
            "name": self.name,
            "dataset": self.dataset,
            "reference_arm": self.reference,
            "run_arms": list(self.run_arms),
            "label_counts": list(self.counts),
            "seeds": plain(self.seeds),
            "ablations": plain(self.ablations),
            "runs": [
                {"arm": run.arm, "n": run.n, "seed": run.seed, "stages": list(run.stages)}
                for run in self.runs(self.run_arms + self.helpers)
            ],
        }
