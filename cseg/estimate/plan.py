"""What a config will cost: jobs, device-hours, disk, memory and the shortest finish."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cseg import experiment
from cseg.datasets import dataset_module
from cseg.errors import ConfigError
from cseg.estimate.calibrate import ArmCost, calibrate
from cseg.estimate.flops import counted_costs
from cseg.settings import from_mapping
from cseg.stages.subset import resolve_count
from cseg.storage.files import read_json, write_json
from cseg.storage.lists import read_index

# every config has them once; the target `all` is a job of its own
ONCE = ("fetch", "index", "features", "summary", "figures", "tables", "all")


@dataclass(frozen=True)
class Chain:
    """The jobs of one run, which follow each other: of an arm, a label count and a seed.

    Attributes:
        arm, n, seed: which run.
        after: the teacher's run, where there is one.
        jobs: names of its rules, in order.
        seconds: on one device, from the first job's start to the last one's end.
    """

    arm: str
    n: str
    seed: int
    after: tuple[str, str, int] | None
    jobs: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Sizes:
    """Images of the dataset: how many to train on and to evaluate on."""

    train: int
    val: int


def plan(
    config: Mapping[str, Any],
    devices: int,
    copies: int = 1,
    size_HW: tuple[int, int] | None = None,
    calibration: Path | None = None,
    save: Path | None = None,
    teraflops: float | None = None,
) -> str:
    """The plan as text: a table with a row per arm, totals, and the finish on `devices`.

    Args:
        config: checked.
        devices: how many runs go on at a time.
        copies: processes that calibrate at the same time.
        size_HW: height and width of an image; None takes them from the index, if there is one.
        calibration: costs saved on another machine; None measures here.
        save: where to keep the costs measured.
        teraflops: counts the work for a device of this speed instead of measuring here.

    Raises:
        ConfigError: sizes are not known before the dataset is there, or the calibration lacks an
            arm or is damaged; each names the remedy.
    """
    module = dataset_module(config["dataset"])
    info = module.info(config["dataset_options"].get(config["dataset"], {}))
    sizes = image_counts(config, info.split_sizes)
    arms = [arm for arm, _ in _arms(config)]
    if calibration is not None:
        costs = read_costs(calibration, arms)
    elif teraflops is not None:
        size = size_HW or image_size(config)
        costs = counted_costs(config, arms, info.num_classes, size, teraflops)
    else:
        costs = calibrate(config, arms, info, size_HW or image_size(config), copies)
    if save is not None:
        write_json(save, {arm: asdict(cost) for arm, cost in costs.items()})
    found = chains(config, sizes, costs)
    return render(config, sizes, costs, found, devices)


def read_costs(path: Path, arms: Sequence[str]) -> dict[str, ArmCost]:
    """Costs by arm, as `plan` saved them.

    Raises:
        ConfigError: an arm is missing.
        CsegError: the file is damaged.
    """
    saved = read_json(path)
    for arm in arms:
        if arm not in saved:
            raise ConfigError(f"calibration {path} lacks arm {arm}; make it from the same config")
    return {arm: from_mapping(ArmCost, saved[arm], f"{path}: {arm}") for arm in arms}


def image_counts(config: Mapping[str, Any], published: Mapping[str, int]) -> Sizes:
    """How many images there are: of the index, of the dataset's options, or as published.

    Raises:
        ConfigError: none of the three says so.
    """
    facts = _results(config) / "dataset.json"
    if facts.exists():
        found = read_json(facts)
        return Sizes(found["train_size"], found["val_size"])
    options = config["dataset_options"].get(config["dataset"], {})
    known = {**published, **{k: options[k] for k in ("train", "val") if k in options}}
    if not isinstance(known.get("train"), int) or not isinstance(known.get("val"), int):
        raise ConfigError(
            f"how many images {config['dataset']} has is not known before its index exists; "
            f"run snakemake --cores all {facts} first, with the same configfiles"
        )
    return Sizes(known["train"], known["val"])


def image_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the median image of the index, or as the dataset's options have it.

    Raises:
        ConfigError: neither is there.
    """
    index = _results(config) / "index.csv"
    if index.exists():
        table = read_index(index)
        return int(table["height"].median()), int(table["width"].median())
    side = config["dataset_options"].get(config["dataset"], {}).get("size")
    if not side:
        raise ConfigError(
            f"the size of the images of {config['dataset']} is not known before {index} exists; "
            "give it: --size HEIGHT WIDTH"
        )
    return side, side


def _results(config: Mapping[str, Any]) -> Path:
    return Path(config["results_dir"]) / config["dataset"]


def _arms(config: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """The arms to run, teachers before their pupils, and whether each is evaluated."""
    run = config["run_arms"]
    teachers = [config["arms"][arm].get("teacher") for arm in run]
    helpers = sorted({teacher for teacher in teachers if teacher and teacher not in run})
    plain = [arm for arm in run if "teacher" not in config["arms"][arm]]
    pupils = [arm for arm in run if arm not in plain]
    return [(arm, False) for arm in helpers] + [(arm, True) for arm in plain + pupils]


def chains(config: Mapping[str, Any], sizes: Sizes, costs: Mapping[str, ArmCost]) -> list[Chain]:
    """Every run of a config with its jobs and its time."""
    found = []
    tokens = zip(experiment.count_tokens(config), config["label_counts"], strict=True)
    counts = [(token, _labelled(config, count, sizes)) for token, count in tokens]
    for arm, evaluated in _arms(config):
        for token, labelled in counts:
            for seed in config["seeds"]:
                found.append(
                    _chain(config, arm, evaluated, token, labelled, seed, sizes, costs[arm])
                )
    return found


def _labelled(config: Mapping[str, Any], count: Any, sizes: Sizes) -> int:
    if count in config["label_lists"]:
        lines = Path(config["label_lists"][count]).read_text(encoding="utf-8").split()
        return len(lines)
    return resolve_count(count, sizes.train)


def _chain(
    config: Mapping[str, Any], arm: str, evaluated: bool, token: str, labelled: int, seed: int,
    sizes: Sizes, cost: ArmCost,
) -> Chain:  # fmt: skip
    settings = experiment.arm_settings(config, arm, seed)
    jobs, seconds, after = [], 0.0, None
    if "teacher" in config["arms"][arm]:
        after = config["arms"][arm]["teacher"], token, seed
        jobs.append("pseudolabel")
        images = sizes.train - labelled
        seconds += cost.image * min(images, settings["pseudolabel"]["images"] or images)
    if settings["scope"] != "none":
        jobs.append("pretrain")
        seconds += cost.pretrain_step * settings["pretrain"]["steps"]
    jobs.append("finetune")
    every = settings["finetune"]["validate_every"]
    measured = settings["finetune"]["steps"] // every if every else 0
    seconds += cost.finetune_step * settings["finetune"]["steps"]
    seconds += cost.image * measured * sizes.val
    if evaluated:
        jobs.append("evaluate")
        train = min(labelled, settings["evaluate"]["train_images"])
        seconds += cost.image * (sizes.val + train)
    return Chain(arm, token, seed, after, tuple(jobs), seconds + cost.job * len(jobs))


def finish(found: Sequence[Chain], devices: int) -> float:
    """Seconds until the last run ends when `devices` take the longest run that may start."""
    ends: dict[tuple[str, str, int], float] = {}
    waiting = sorted(found, key=lambda chain: -chain.seconds)
    free = [0.0] * devices
    while waiting:
        now = heapq.heappop(free)
        ready = [c for c in waiting if c.after is None or ends.get(c.after, float("inf")) <= now]
        if not ready:  # wait for the teacher that ends first
            later = [end for end in ends.values() if end > now]
            heapq.heappush(free, min(later))
            continue
        chosen = ready[0]
        waiting.remove(chosen)
        end = now + chosen.seconds
        ends[chosen.arm, chosen.n, chosen.seed] = end
        heapq.heappush(free, end)
    return max(free)


def job_counts(config: Mapping[str, Any], found: Sequence[Chain]) -> dict[str, int]:
    """How many jobs each rule has, as `snakemake -n` counts them on an empty results folder."""
    counts = dict.fromkeys(ONCE, 1)
    counts["subset"] = len(config["seeds"]) * len(config["label_counts"])
    if config["prepared_cache"]:
        counts["prepare"] = 1
    for chain in found:
        for job in chain.jobs:
            counts[job] = counts.get(job, 0) + 1
    return counts


def render(
    config: Mapping[str, Any],
    sizes: Sizes,
    costs: Mapping[str, ArmCost],
    found: Sequence[Chain],
    devices: int,
) -> str:
    """The table and the totals, as Markdown."""
    lines = [
        "| arm | runs | jobs | hours per run | device-hours | disk GB | peak memory GB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    hours = disk = 0.0
    for arm, evaluated in _arms(config):
        runs = [chain for chain in found if chain.arm == arm]
        spent = sum(chain.seconds for chain in runs) / 3600
        each = costs[arm].weights_mib + evaluated * costs[arm].prediction_mib * sizes.val
        stored = len(runs) * each * 2**20 / 1e9
        lines.append(
            f"| {arm} | {len(runs)} | {sum(len(chain.jobs) for chain in runs)} "
            f"| {spent / len(runs):.3g} | {spent:.3g} | {stored:.2g} "
            f"| {costs[arm].memory_mib * 2**20 / 1e9:.2g} |"
        )
        hours, disk = hours + spent, disk + stored
    counts = job_counts(config, found)
    named = ", ".join(sorted({cost.device for cost in costs.values()}))
    return "\n".join(
        [
            *lines,
            "",
            f"{sum(counts.values())} jobs; {hours:.3g} device-hours on {named}; {disk:.2g} GB of "
            f"weights and predictions, at most; {finish(found, devices) / 3600:.3g} hours on "
            f"{devices} of these devices at best. Not in the hours: the download, the index, "
            "feature sampling, tables and figures.",
        ]
    )
