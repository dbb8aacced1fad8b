"""Hypothesis strategies of configs, made from the JSON schema of the config's own classes.

`valid_configs` draws values for some keys and keeps what belongs together coherent;
`spoiled_configs` makes one key of such a config wrong and says which.
"""

import copy
import math
import string
from collections.abc import Iterator
from typing import Any

from config_page import json_schema
from hypothesis import strategies as st

from cseg.experiment import read_yaml
from cseg.pipeline import DEFAULT_CONFIG
from cseg.settings.label_counts import resolve_count

SCHEMA = json_schema()
WHOLE = read_yaml(DEFAULT_CONFIG)
PATHS = st.text(string.ascii_letters + string.digits + " ._-é/", min_size=1, max_size=12)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
OTHERS = {  # a value of each type
    "string": "sideways", "integer": 3, "number": 0.5, "boolean": True, "null": None,
    "array": ["x", "y"], "object": {"x": 1},
}  # fmt: skip
LINKED = {  # keys that others must agree with: drawn by `coherent`, or left as they are
    "dataset", "dataset_options", "run_arms", "reference_arm", "label_counts", "label_lists",
    "audit_lists", "arms", "ablations", "batch", "accumulate", "validate_every", "log_every",
    "report", "encoder", "maps", "init",
}  # fmt: skip
Path = tuple[str, ...]


def kinds(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of which a value must fit one."""
    return schema.get("anyOf", [schema])


def entries(value: Any, schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, dict]]:
    """Every key of a config with its schema, depth first."""
    yield path, schema
    if not isinstance(value, dict):
        return
    schema = next(kind for kind in kinds(schema) if kind.get("type") == "object")
    for key, inner in value.items():
        known = schema.get("properties", {}).get(key) or schema["additionalProperties"]
        if known:
            yield from entries(inner, known, (*path, key))


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema allows."""
    return st.one_of(*(_of_kind(kind) for kind in kinds(schema)))


def _of_kind(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind, low, high = schema["type"], schema.get("minimum"), schema.get("maximum")
    if kind == "null":
        return st.none()
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        return st.integers(low, high if high is not None else (low or 0) + 10**6)
    if kind == "number":
        bounds = {"exclude_min": "exclusiveMinimum" in schema,
                  "exclude_max": "exclusiveMaximum" in schema}  # fmt: skip
        low, high = schema.get("exclusiveMinimum", low), schema.get("exclusiveMaximum", high)
        return st.floats(low, high if high is not None else 1e9, allow_nan=False, **bounds)
    if kind == "string":
        wanted = schema.get("pattern")
        return st.from_regex(wanted, fullmatch=True) if wanted else PATHS
    if kind == "object":
        known = schema["properties"]
        return st.fixed_dictionaries({key: values(known[key]) for key in schema["required"]})
    assert kind == "array", schema
    return st.lists(
        values(schema["items"]),
        min_size=schema["minItems"],
        max_size=schema.get("maxItems", 4),
        unique_by=which if schema["uniqueItems"] else None,
    )


def which(value: Any) -> Any:
    """What no two items of a list may share: of seeds that name their parts, the init."""
    return value["init"] if isinstance(value, dict) else value


def put(config: dict[str, Any], path: Path, value: Any) -> None:
    """Set one key in place."""
    *parents, last = path
    for name in parents:
        config = config[name]
    config[last] = value


def _fit_contrast(config: dict[str, Any]) -> None:
    """Drop what the scopes of the arms that run, and of their teachers, leave no room for."""
    pretrain, finetune = config["pretrain"], config["finetune"]
    if finetune["trained"] == "classifier":
        finetune["contrast_scope"] = "none"
    if pretrain["denominator"] == "negatives":
        finetune["contrast_anchors"] = "all"
    arms = [config["arms"][arm] for arm in config["run_arms"]]
    helpers = [config["arms"][arm["teacher"]] for arm in arms if arm.get("teacher")]
    scopes = {arm["scope"] for arm in arms + helpers}
    scopes |= {finetune["contrast_scope"]}
    if scopes - {"none", "batch"} or pretrain["coarse_grids"]:
        pretrain["memory_images"] = 0


@st.composite
def valid_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A whole config with some keys drawn anew, which must be accepted and give a plan."""
    config = copy.deepcopy(WHOLE)
    plain = [
        (path, schema)
        for path, schema in entries(config, SCHEMA)
        if path and schema.get("type") != "object" and not LINKED & set(path)
    ]
    chosen = draw(st.lists(st.sampled_from(plain), max_size=8, unique_by=lambda entry: entry[0]))
    for path, schema in chosen:
        put(config, path, draw(values(schema)))
    _draw_arms(draw, config)
    _fit_contrast(config)
    _draw_counts(draw, config)
    for stage in ("pretrain", "finetune"):
        pieces, of_piece = draw(st.integers(1, 8)), draw(st.integers(2, 16))
        config[stage] |= {"accumulate": pieces, "batch": pieces * of_piece}
    rows, times = draw(st.integers(1, 50)), draw(st.integers(0, 5))
    report = draw(st.sampled_from(["last", "best"] if times else ["last"]))
    config["finetune"] |= {"log_every": rows, "validate_every": rows * times, "report": report}
    return config


def _draw_arms(draw: st.DrawFn, config: dict[str, Any]) -> None:
    made = draw(st.dictionaries(NAMES, values_of_arm(), max_size=3))
    config["arms"] |= {name: arm for name, arm in made.items() if not name.endswith("_pseudo")}
    taught = draw(st.sampled_from([n for n in config["arms"] if not n.endswith("_pseudo")]))
    config["arms"][f"{taught}_pseudo"] = draw(values_of_arm()) | {"teacher": taught}
    _draw_sharing(draw, config["arms"])
    names = st.sampled_from(sorted(config["arms"]))
    config["run_arms"] = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    config["reference_arm"] = draw(st.sampled_from([None, *config["run_arms"]]))
    if len(config["run_arms"]) > 1 and draw(st.booleans()):
        settings = zip(("this", "that"), config["run_arms"])
        config["ablations"] = {draw(PATHS): dict(settings)}


def _draw_sharing(draw: st.DrawFn, arms: dict[str, Any]) -> None:
    """Perhaps an arm that starts from another one's pretraining."""
    able = [
        name for name, arm in arms.items()
        if arm["scope"] != "none" and "teacher" not in arm and "pretrained_by" not in arm
    ]  # fmt: skip
    donor = draw(st.sampled_from([None, *able]))
    if donor is not None:
        arms["sharing"] = copy.deepcopy(arms[donor]) | {"pretrained_by": donor}


@st.composite
def values_of_arm(draw: st.DrawFn) -> dict[str, Any]:
    """An arm without a teacher."""
    known = SCHEMA["properties"]["arms"]["additionalProperties"]["properties"]
    arm = {key: draw(values(known[key])) for key in ("init", "scope")}
    if draw(st.booleans()):
        own, stages = known["overrides"]["properties"], SCHEMA["properties"]
        model = own["model"]["properties"]["projection_channels"]
        arm["overrides"] = {
            "budget": draw(values(own["budget"])),
            "model": {"projection_channels": draw(values(model))},
            "pretrain": {"lr": draw(values(stages["pretrain"]["properties"]["lr"]))},
            "finetune": {"steps": draw(values(stages["finetune"]["properties"]["steps"]))},
        }
    return arm


def _draw_counts(draw: st.DrawFn, config: dict[str, Any]) -> None:
    size = draw(st.integers(8, 600))
    dataset = draw(st.sampled_from(["shapes", "camvid", "voc2012", "cityscapes"]))
    config["dataset"] = dataset
    config["dataset_options"] = {"shapes": {"size": draw(st.integers(16, 64)), "train": size}}
    smallest = size if dataset == "shapes" else 367  # CamVid's training images
    images = {"voc2012": 1464, "cityscapes": 2975}.get(dataset, smallest)
    counts = st.one_of(
        st.integers(1, smallest), st.just("all"), st.sampled_from(["1/2", "1/3", 0.25, 0.5])
    )
    config["label_counts"] = draw(
        st.lists(counts, min_size=1, max_size=4, unique_by=lambda n: resolve_count(n, images))
    )
    weight = config["finetune"]["consistency"]["weight"]
    if any("teacher" in arm or _weight(arm, weight) for arm in config["arms"].values()):
        whole = {"all", smallest}  # leaves no image to learn from without label
        config["label_counts"] = [n for n in config["label_counts"] if n not in whole] or ["1/2"]


def _weight(arm: dict[str, Any], shared: float) -> float:
    """Weight of an arm's consistency."""
    finetune = arm.get("overrides", {}).get("finetune", {})
    return finetune.get("consistency", {}).get("weight", shared)


@st.composite
def spoiled_configs(draw: st.DrawFn) -> tuple[dict[str, Any], str, str]:
    """A config with one key made wrong, that key in dots, and what was done to it."""
    config = draw(valid_configs())
    found = list(entries(config, SCHEMA))
    how = draw(st.sampled_from(["type", "range", "unknown"]))
    if how == "unknown":
        closed = [path for path, schema in found if schema.get("additionalProperties") is False]
        path = (*draw(st.sampled_from(closed)), draw(NAMES) + "x_")
        put(config, path, draw(st.sampled_from(list(OTHERS.values()))))
    else:
        spoil = wrong_types if how == "type" else out_of_range
        able = [(path, wrong) for path, schema in found if path and (wrong := spoil(schema))]
        path, wrong = draw(st.sampled_from(able))
        put(config, path, draw(st.sampled_from(wrong)))
    return config, ".".join(path), how


def wrong_types(schema: dict[str, Any]) -> list[Any]:
    """Values of types that a schema does not allow."""
    allowed = {kind.get("type", "string") for kind in kinds(schema)}
    if any("enum" in kind for kind in kinds(schema)):
        allowed |= {"integer"}
    if "number" in allowed:
        allowed.add("integer")
    wrong = [value for kind, value in OTHERS.items() if kind not in allowed]
    return wrong + ([2.0] if "integer" in allowed and "number" not in allowed else [])


def out_of_range(schema: dict[str, Any]) -> list[Any]:
    """Values of the right type that a schema does not allow."""
    wrong: list[Any] = []
    for kind in kinds(schema):
        wrong += ["sideways"] if "enum" in kind else []
        wrong += [kind["minimum"] - 1] if "minimum" in kind else []
        wrong += [kind["maximum"] + 1] if "maximum" in kind else []
        wrong += [kind[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if key in kind]
        wrong += [math.nan, math.inf] if kind.get("type") == "number" else []
        wrong += [[]] if kind.get("minItems") else []
        wrong += ["{\n"] if kind.get("pattern") else []
    return wrong
