"""What the keys of a config must have in common; each value by itself is checked before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cseg.datasets import has_unlabelled
from cseg.errors import ConfigError, CsegError
from cseg.experiment.definition import Experiment
from cseg.settings.label_counts import equal_counts, resolve_count
from cseg.settings.run import TEACHER_SUFFIX, SharedSettings, pretraining
from cseg.storage.files import read_json


def check(experiment: Experiment) -> None:
    """Check that the parts of an experiment fit together.

    Raises:
        ConfigError: the first thing wrong, by key.
    """
    for arm in experiment.run_arms:
        if arm not in experiment.arms:
            raise ConfigError(
                f"config key run_arms names {arm!r}, which arms does not define; "
                f"choose from {', '.join(experiment.arms)}, or define it"
            )
    _check_run_arm(experiment, "reference_arm", experiment.reference_arm)
    for group, settings in experiment.ablations.items():
        for setting, arm in settings.items():
            _check_run_arm(experiment, f"ablations.{group}.{setting}", arm)
    for arm in experiment.arms:
        _check_teacher(experiment, arm)
        _check_loops(experiment.shared(arm), arm)
        _check_donor(experiment, arm)
    for arm in (*experiment.run_arms, *experiment.helpers):
        _check_contrast(experiment, arm)
    if len(experiment.subset_seeds) < len(experiment.seeds):  # they would be one run
        raise ConfigError(
            "config key seeds names an init twice; give each seed an init of its own, such as "
            "{subset: 0, init: 0} and {subset: 0, init: 1}"
        )
    _check_counts(experiment)
    _check_folder(experiment)


def _check_run_arm(experiment: Experiment, key: str, arm: str | None) -> None:
    if arm is not None and arm not in experiment.run_arms:
        raise ConfigError(
            f"config key {key} names {arm!r}, which run_arms lacks; add it there, or name one of "
            f"{', '.join(experiment.run_arms)}"
        )


def _check_teacher(experiment: Experiment, arm: str) -> None:
    teacher = experiment.arms[arm].teacher
    if (teacher is not None) != arm.endswith(TEACHER_SUFFIX):
        raise ConfigError(
            f"config key arms.{arm}: arms with a teacher, and no others, have names that end in "
            f"{TEACHER_SUFFIX}; rename it, or add or remove teacher"
        )
    if teacher is not None and (
        teacher not in experiment.arms or experiment.arms[teacher].teacher is not None
    ):
        raise ConfigError(
            f"config key arms.{arm}.teacher is {teacher!r}; name an arm that has no teacher itself"
        )


def _check_donor(experiment: Experiment, arm: str) -> None:
    """An arm that starts from another arm's pretraining would have pretrained just so itself."""
    donor = experiment.arms[arm].pretrained_by
    if donor is None:
        return
    key = f"config key arms.{arm}.pretrained_by is {donor!r}"
    known = experiment.arms.get(donor)
    if known is None or known.scope == "none" or known.pretrained_by or known.teacher:
        raise ConfigError(
            f"{key}; name an arm that pretrains itself and has neither teacher nor pretrained_by"
        )
    if experiment.arms[arm].teacher is not None:
        raise ConfigError(f"{key}, but an arm with a teacher pretrains on more images; remove it")
    own, other = (pretraining(experiment.run_settings(name, 0)) for name in (arm, donor))
    different = next(_differences(own, other), None)
    if different is not None:
        raise ConfigError(
            f"{key}, but {different} differs between the two; make it equal, or remove "
            "pretrained_by"
        )


def _differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one:
            yield from _differences(one[name], other[name], f"{where}.{name}".lstrip("."))
    elif one != other:
        yield where


def _check_loops(shared: SharedSettings, arm: str) -> None:
    for stage, loop in (("pretrain", shared.pretrain), ("finetune", shared.finetune)):
        if loop.batch % loop.accumulate or loop.batch // loop.accumulate < 2:
            raise ConfigError(
                f"config key {stage}.accumulate is {loop.accumulate} and {stage}.batch is "
                f"{loop.batch} (arm {arm}); choose an accumulate that divides the batch into "
                "pieces of at least 2"
            )
    every, rows = shared.finetune.validate_every, shared.finetune.log_every
    if every % rows:
        raise ConfigError(
            f"config key finetune.validate_every is {every} (arm {arm}); choose a multiple of "
            f"finetune.log_every, {rows}, or 0"
        )
    if shared.finetune.report == "best" and not every:
        raise ConfigError(
            f"config key finetune.report is best (arm {arm}) but nothing is measured; "
            "set finetune.validate_every"
        )


def _check_contrast(experiment: Experiment, arm: str) -> None:
    shared = experiment.shared(arm)
    pretrain, finetune = shared.pretrain, shared.finetune
    scopes = {experiment.arms[arm].scope, finetune.contrast_scope} - {"none"}
    if pretrain.memory_images and (scopes - {"batch"} or pretrain.coarse_grids):
        raise ConfigError(
            f"config key pretrain.memory_images is {pretrain.memory_images} (arm {arm}), which "
            "needs the scope batch and no coarse_grids; set it 0"
        )
    if finetune.contrast_scope != "none" and finetune.trained == "classifier":
        raise ConfigError(
            f"config key finetune.contrast_scope is {finetune.contrast_scope} (arm {arm}), but "
            "only the classifier learns; set it none, or finetune.trained all"
        )
    if finetune.contrast_anchors == "hard" and pretrain.denominator == "negatives":
        raise ConfigError(
            f"config key finetune.contrast_anchors is hard (arm {arm}), but with "
            "pretrain.denominator negatives anchors and candidates are one set; set it all, or the "
            "denominator all"
        )


def _check_counts(experiment: Experiment) -> None:
    """Counts are different and there; arms that learn from unlabelled images have some."""
    if len(experiment.counts) < len(experiment.label_counts):
        raise ConfigError("config key label_counts names a count twice; keep each once")
    size = experiment.info.split_sizes.get("train")
    if experiment.options.get("relax_counts") or "exclude" in experiment.options:
        size = None
    counts = [n for n in experiment.label_counts if n not in experiment.label_lists]
    equal = equal_counts(counts, size)
    if equal:
        raise ConfigError(
            f"config key label_counts has {equal[0]} and {equal[1]}, which mean as many images; "
            "keep one of the two"
        )
    whole = [n for n in counts if n == "all" or (size and resolve_count(n, size) == size)]
    learning = [
        arm
        for arm in experiment.run_arms
        if experiment.arms[arm].teacher or experiment.shared(arm).finetune.consistency.weight
    ]
    if whole and learning and not has_unlabelled(experiment.dataset, experiment.options):
        raise ConfigError(
            f"config key label_counts has {whole[0]}, which labels every training image and leaves "
            f"none for the arm {learning[0]}, which learns from unlabelled ones; lower it, leave "
            "out the arm, or name unlabelled images in a description"
        )


def _check_folder(experiment: Experiment) -> None:
    """Two descriptions of the same name must not share a folder of results unnoticed."""
    name, described = experiment.name, experiment.options.get("description")
    if not name.strip() or name.startswith(".") or any(c in "/\\{}" or c < " " for c in name):
        raise ConfigError(
            f"the dataset's name is {name!r}, but it names a folder of the results; give a name "
            "without slashes, braces and a leading dot"
        )
    fetched = Path(experiment.results) / "fetch.json"
    if not isinstance(described, str) or not fetched.is_file():
        return
    try:
        before = read_json(fetched)["options"]["description"]
    except (CsegError, KeyError, TypeError):  # the rule fetch says what is wrong with it
        return
    if not isinstance(before, str) or Path(before).resolve() != Path(described).resolve():
        raise ConfigError(
            f"{experiment.results} holds results of the description {before}, whose name is "
            f"{name} as well; give {described} another name, or set another results_dir"
        )


def cautions(experiment: Experiment) -> list[str]:
    """What can run but is hardly meant, in sentences: learning rates that only rise."""
    found = []
    for arm in (*experiment.run_arms, *experiment.helpers):
        settings = experiment.run_settings(arm, 0)
        loops = {stage: getattr(settings, stage) for stage in settings.trainings}
        found += [
            f"config key {stage}.warmup_steps is {loop.warmup_steps} but arm {arm} has "
            f"{loop.steps} steps there, so that its learning rate only rises; lower it, or raise "
            "the steps"
            for stage, loop in loops.items() if loop.warmup_steps >= loop.steps
        ]  # fmt: skip
    return found
