"""The keys of the config for people (docs/config.md) and for editors (docs/config.schema.json)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from cseg.experiment.definition import Experiment
from cseg.settings.keys import Metadata, choices, default_of, optional, plain, types, wanted
from cseg.storage.files import write_json, write_text

BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
SIMPLE = {int: "integer", float: "number", bool: "boolean", str: "string"}
HEAD = """# Every key of the config

Made by `make keys` from the classes in `cseg/settings/` and `cseg/experiment/definition.py`. A key
without a default must be given; `config.yaml` gives all. NAME stands for any name of the mapping.

| key | value | unit | default | what it is |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What is said of one key: its place in dots, and words for the rest; `default` is a value."""

    name: str
    wanted: str
    unit: str
    default: Any
    description: str


def facts(kind: type, where: str = "") -> Iterator[Fact]:
    """Every key of a settings class and of those in it, in order.

    `where` is the key that the class stands under, in dots.
    """
    hints = types(kind)
    for entry in fields(kind):
        name = f"{where}.{entry.name}" if where else entry.name
        hint, told = hints[entry.name], entry.metadata
        inner = next((part for part in (hint, *get_args(hint)) if is_dataclass(part)), None)
        if inner is None or "description" in told:
            default = default_of(entry)
            yield Fact(
                name=name,
                wanted=wanted(hint, told),
                unit=told.get("unit", ""),
                default=default if inner is None or default in (None, MISSING) else MISSING,
                description=told["description"],
            )
        if isinstance(inner, type):
            yield from facts(inner, f"{name}.NAME" if get_origin(hint) is Mapping else name)


def page() -> str:
    """docs/config.md."""
    return HEAD + "".join(_row(fact) for fact in facts(Experiment))


def _row(fact: Fact) -> str:
    default = "" if fact.default is MISSING else f"`{json.dumps(plain(fact.default))}`"
    cells = (f"`{fact.name}`", fact.wanted, fact.unit, default, fact.description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def json_schema(hint: Any = Experiment, told: Metadata | None = None) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a type, that of the whole config by default."""
    kinds, null = optional(hint)
    parts = [_schema(kind, told or {}) for kind in kinds] + [{"type": "null"}] * null
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _schema(kind: Any, told: Metadata) -> dict[str, Any]:
    if choices(kind):
        return {"enum": list(choices(kind))}
    if kind in (int, float):
        bounds = {BOUNDS[name]: told[name] for name in BOUNDS if name in told}
        return {"type": SIMPLE[kind], **bounds}
    if kind is str and "pattern" in told:
        return {"type": "string", "pattern": f"^(?:{told['pattern']})$"}
    if kind in SIMPLE:
        return {"type": SIMPLE[kind]}
    if is_dataclass(kind):
        return _object(kind)
    if get_origin(kind) is tuple:
        first, *rest = get_args(kind)
        inner = {name: fact for name, fact in told.items() if name not in ("least", "unique")}
        length = [told.get("least", 0)] if rest == [...] else [len(rest) + 1] * 2
        return {
            "type": "array",
            "items": json_schema(first, inner),
            **dict(zip(("minItems", "maxItems"), length)),
            "uniqueItems": bool(told.get("unique")),
        }
    if get_origin(kind) is Mapping:
        return {
            "type": "object",
            "additionalProperties": json_schema(get_args(kind)[1], told.get("values")),
            "propertyNames": {"pattern": f"^(?:{told.get('names', '.*')})$"},
            "minProperties": told.get("least", 0),
        }
    return {}


def _object(kind: Any) -> dict[str, Any]:
    hints = types(kind)
    properties, required = {}, []
    for entry in fields(kind):
        default = default_of(entry)
        said = {"description": entry.metadata.get("description", hints[entry.name].__doc__)}
        if default is MISSING:
            required.append(entry.name)
        else:
            said["default"] = plain(default)
        properties[entry.name] = json_schema(hints[entry.name], entry.metadata) | said
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": required,
    }


if __name__ == "__main__":
    docs = Path(__file__).parent.parent / "docs"
    write_text(docs / "config.md", page())
    write_json(docs / "config.schema.json", json_schema())
