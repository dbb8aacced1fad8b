"""The experiment's config: loaded, checked by key, and resolved for each arm.

Needs neither torch nor Snakemake. The same functions serve the workflow and the command line.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from cseg.datasets import MODULES, dataset_module
from cseg.errors import ConfigError, reason
from cseg.stages.subset import count_token, resolve_count

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
PSEUDO = "_pseudo"  # what names of arms with a teacher end in
SHARED = (
    "budget", "image", "model", "evaluate", "device", "precision", "deterministic",
    "compile", "tensorboard", "pretrain", "finetune",
)  # fmt: skip


def load(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Merge config.yaml with overlays, later ones winning key by key, and check the result.

    Raises:
        ConfigError: a file cannot be read, or the config is wrong; names file or key.
    """
    config: dict[str, Any] = {}
    for path in [ROOT / "config.yaml", *paths]:
        config = merge(config, read_yaml(path))
    check(config)
    return config


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: missing, not YAML, or no mapping; names the file.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"config file {path} cannot be read: {reason(error)}; correct it"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"config file {path} holds no keys; write `key: value` lines")
    return content


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `overlay`; mappings merge, everything else is replaced."""
    merged = copy.deepcopy(dict(base))
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def check(config: Mapping[str, Any]) -> None:
    """Check a whole config: keys, types, ranges, and that its parts fit together.

    Raises:
        ConfigError: the first thing wrong, by key.
    """
    _check_schema(config, "")
    if config["dataset"] not in MODULES:
        raise ConfigError(
            f"config key dataset is {config['dataset']!r}, which is unknown; "
            f"choose one of {', '.join(MODULES)}"
        )
    encoder, blocks = config["model"]["encoder"], config["model"]["blocks"]
    if blocks is not None and encoder != "efficientnet_lite0":
        raise ConfigError(
            f"config key model.blocks is {blocks}, but only efficientnet_lite0 can be cut, not "
            f"{encoder}; set it null"
        )
    for arm in config["run_arms"]:
        if arm not in config["arms"]:
            raise ConfigError(
                f"config key run_arms names {arm!r}, which arms does not define; "
                f"choose from {', '.join(config['arms'])}, or define it"
            )
        if config["arms"][arm]["scope"] != "none" and config["finetune"]["batch"] < 2:
            raise ConfigError("config key finetune.batch must be at least 2 for batch norm")
    for arm, chosen in config["arms"].items():
        _check_teacher(config, arm, chosen.get("teacher"))
    for arm in config["arms"]:
        resolved = merge(config, config["arms"][arm].get("overrides", {}))
        _check_schema(resolved, f"arms.{arm}.overrides: ")
        _check_pieces(resolved, arm)
        _check_validation(resolved["finetune"], arm)
        if arm in config["run_arms"]:
            _check_contrast(resolved, arm)
    for group, settings in config["ablations"].items():
        for setting, arm in settings.items():
            if arm not in config["run_arms"]:
                raise ConfigError(
                    f"config key ablations.{group}.{setting} names {arm!r}, which run_arms lacks; "
                    "add it there"
                )
    _check_counts(config)


def _check_contrast(config: Mapping[str, Any], arm: str) -> None:
    pretrain, finetune = config["pretrain"], config["finetune"]
    scopes = {config["arms"][arm]["scope"], finetune["contrast_scope"]} - {"none"}
    if pretrain["memory"] and (scopes - {"batch"} or pretrain["coarse_grids"]):
        raise ConfigError(
            f"config key pretrain.memory is {pretrain['memory']} (arm {arm}), which needs the "
            "scope batch and no coarse_grids; set it 0"
        )
    if finetune["contrast_scope"] != "none" and finetune["trained"] == "classifier":
        raise ConfigError(
            f"config key finetune.contrast_scope is {finetune['contrast_scope']} (arm {arm}), but "
            "only the classifier learns; set it none, or finetune.trained all"
        )
    if finetune["contrast_anchors"] == "hard" and pretrain["denominator"] == "negatives":
        raise ConfigError(
            f"config key finetune.contrast_anchors is hard (arm {arm}), but with "
            "pretrain.denominator negatives anchors and candidates are one set; set it all, or the "
            "denominator all"
        )


def _check_pieces(config: Mapping[str, Any], arm: str) -> None:
    for stage in ("pretrain", "finetune"):
        batch, pieces = config[stage]["batch"], config[stage]["accumulate"]
        if batch % pieces or batch // pieces < 2:
            raise ConfigError(
                f"config key {stage}.accumulate is {pieces} and {stage}.batch is {batch} (arm "
                f"{arm}); choose an accumulate that divides the batch into pieces of at least 2"
            )


def _check_validation(finetune: Mapping[str, Any], arm: str) -> None:
    every, rows = finetune["validate_every"], finetune["log_every"]
    if every % rows:
        raise ConfigError(
            f"config key finetune.validate_every is {every} (arm {arm}); choose a multiple of "
            f"finetune.log_every, {rows}, or 0"
        )
    if finetune["report"] == "best" and not every:
        raise ConfigError(
            f"config key finetune.report is best (arm {arm}) but nothing is measured; "
            "set finetune.validate_every"
        )


def _check_teacher(config: Mapping[str, Any], arm: str, teacher: str | None) -> None:
    if (teacher is not None) != arm.endswith(PSEUDO):
        raise ConfigError(
            f"config key arms.{arm}: arms with a teacher, and no others, have names that end in "
            f"{PSEUDO}; rename it, or add or remove teacher"
        )
    if teacher is not None and "teacher" in config["arms"].get(teacher, {"teacher": ""}):
        raise ConfigError(
            f"config key arms.{arm}.teacher is {teacher!r}, which is no arm without a teacher of "
            "its own; choose one that is"
        )


def _check_schema(config: Mapping[str, Any], where: str) -> None:
    error = best_match(_validator().iter_errors(config))
    if error is not None:
        raise ConfigError(where + _sentence(error))


@lru_cache(maxsize=1)
def _validator() -> Validator:
    """JSON Schema's, but that numbers are finite and whole numbers are written as such."""
    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": lambda _, value: type(value) is int, "number": lambda _, value: _finite(value)}
    )
    return extend(Draft202012Validator, type_checker=types)(read_yaml(SCHEMA))


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _sentence(error: ValidationError) -> str:
    """A schema violation in one sentence that names the key and the remedy."""
    key = ".".join(str(part) for part in error.absolute_path) or "(top level)"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        extra = [name for name in error.instance if name not in known]
        path = f"{key}.{extra[0]}" if error.absolute_path else str(extra[0])
        return f"config key {path} is unknown; use one of {', '.join(known)}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        path = f"{key}.{missing[0]}" if error.absolute_path else missing[0]
        return f"config key {path} is missing; add it, see config.yaml"
    if error.validator == "enum":
        choices = ", ".join(str(value) for value in error.validator_value)
        return f"config key {key} is {error.instance!r}; choose one of {choices}"
    wanted = error.schema.get("description", "what config.yaml shows")
    if error.validator == "pattern":
        return f"config key {key} is wrong: it has {error.instance!r}; give {wanted}"
    found = " ".join(error.message.split())
    return f"config key {key} is wrong: {found}; give {wanted}"


def _check_counts(config: Mapping[str, Any]) -> None:
    tokens = count_tokens(config)
    if len(set(tokens)) < len(tokens):
        raise ConfigError("config key label_counts names a count twice; keep each once")
    options = dict(config["dataset_options"].get(config["dataset"], {}))
    relaxed = options.get("relax_counts", False) or "exclude" in options
    options.pop("exclude", None)
    size = dataset_module(config["dataset"]).info(options).split_sizes.get("train")
    if size and not relaxed:
        for n in config["label_counts"]:
            if n not in config["label_lists"]:
                resolve_count(n, size)


def count_tokens(config: Mapping[str, Any]) -> list[str]:
    """What stands for each of `label_counts` in paths: its token, or the name of its list."""
    lists = config["label_lists"]
    return [n if n in lists else count_token(n) for n in config["label_counts"]]


def arm_settings(config: Mapping[str, Any], arm: str, seed: int) -> dict[str, Any]:
    """The settings of one run: the config with the arm's overrides and its share of the budget.

    An arm may override keys of pretrain and finetune, the projection head (fine-tuning drops it,
    so that the network evaluated is the same in every arm) and the budget.
    An arm without pretraining fine-tunes for the steps of both stages under `equal_steps`, for
    about their time under `equal_time` (a contrastive step counts as `contrast_step_cost` steps),
    and for `finetune.steps`, as every arm, under `equal_finetune`.

    Returns:
        Plain values: init, scope, seed, budget, image, model, pretrain, finetune, evaluate,
        device, precision, deterministic, compile, tensorboard, and pseudolabel where the arm has a
        teacher.
    """
    chosen = config["arms"][arm]
    resolved = merge(config, chosen.get("overrides", {}))
    resolved["pretrain"]["scope"] = chosen["scope"]
    if chosen["scope"] == "none":
        worth = {"equal_steps": 1, "equal_time": config["contrast_step_cost"], "equal_finetune": 0}
        extra = worth[resolved["budget"]] * resolved["pretrain"]["steps"]
        resolved["finetune"]["steps"] += round(extra)
    labelling = {"pseudolabel": resolved["pseudolabel"]} if "teacher" in chosen else {}
    return {
        "init": chosen["init"],
        "scope": chosen["scope"],
        "seed": seed,
        **{key: resolved[key] for key in SHARED},
        **labelling,
    }
