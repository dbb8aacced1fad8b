"""What a key of the config is, its value from plain ones as YAML and JSON hold them, and back.

A key is a field of a dataclass. Its metadata holds `description`, and where they apply `unit`,
`ge`, `gt`, `le`, `lt` (bounds of its numbers, wherever they are nested), `pattern` (of its texts),
`names` (pattern of a mapping's keys), `least` (items), `unique` (items), `wants` (what to give, in
words). Text is read as the declared type: so Snakemake hands on what stands in the lists and
mappings of `--config`, and YAML 1.1 reads 1e-4.
"""

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache
from operator import ge, gt, le, lt
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cseg.errors import ConfigError

T = TypeVar("T")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
BOUNDS = {"ge": ("from", ge), "gt": ("above", gt), "le": ("to", le), "lt": ("to below", lt)}
Metadata = Mapping[str, Any]


def key(description: str, *, default: Any = MISSING, **metadata: Any) -> Any:
    """A field of a settings class; without `default` the key must be given."""
    told = {"description": description, **metadata}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=told)
    return field(default=default, metadata=told)


@cache
def types(kind: type) -> dict[str, Any]:
    """The resolved type of each field of a dataclass, by name."""
    hints = get_type_hints(kind)
    return {entry.name: hints[entry.name] for entry in fields(kind)}


def default_of(entry: "Field[Any]") -> Any:
    """The default of a field, or MISSING."""
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def optional(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """The types that a type allows, None aside, and whether it allows None."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(kind for kind in kinds if kind is not NoneType), NoneType in kinds


def choices(hint: Any) -> tuple[Any, ...]:
    """The values of a Literal; nothing for other types."""
    return get_args(hint) if get_origin(hint) is Literal else ()


def wanted(hint: Any, metadata: Metadata) -> str:
    """What to give for a key, in words."""
    kinds, null = optional(hint)
    told = str(metadata.get("wants") or " or ".join(_wanted(kind, metadata) for kind in kinds))
    return f"{told}, or null" if null else told


def _wanted(kind: Any, metadata: Metadata) -> str:
    if choices(kind):
        return "one of " + ", ".join(map(str, choices(kind)))
    if kind in (int, float):
        told = [
            f"{word} {metadata[name]}" for name, (word, _) in BOUNDS.items() if name in metadata
        ]
        return " ".join(["a whole number" if kind is int else "a number", *told])
    if get_origin(kind) is tuple:
        first, *rest = get_args(kind)
        length = "a list" if rest == [...] else f"a list of {len(rest) + 1} entries"
        return f"{length}, each {wanted(first, metadata)}"
    if get_origin(kind) is Mapping or is_dataclass(kind):
        return "a mapping of keys"
    return {bool: "true or false", str: "a text"}.get(kind, "a value")


def build(kind: type[T], values: Any, where: str = "") -> T:
    """Make the settings class `kind` from its keys, of which those with a default may be absent.

    `where` is the key that they stand under, in dots, for messages.

    Raises:
        ConfigError: the first key that is unknown, missing or has a wrong value.
    """
    hints = types(kind)  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise _wrong(kind, {}, values, where or "(top level)")
    for name in values:
        if name not in hints:
            raise ConfigError(
                f"config key {_below(where, name)} is unknown; use one of {', '.join(hints)}"
            )
    made = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        path = _below(where, entry.name)
        if entry.name in values:
            made[entry.name] = _value(hints[entry.name], entry.metadata, values[entry.name], path)
        elif default_of(entry) is MISSING:
            raise ConfigError(f"config key {path} is missing; add it, see config.yaml")
    return kind(**made)


def plain(settings: Any) -> Any:
    """Settings as plain values of YAML and JSON; `build` makes them again."""
    if is_dataclass(settings):
        return {entry.name: plain(getattr(settings, entry.name)) for entry in fields(settings)}
    if isinstance(settings, Mapping):
        return {name: plain(value) for name, value in settings.items()}
    return [plain(value) for value in settings] if isinstance(settings, tuple) else settings


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `overlay`; mappings merge, everything else is replaced."""
    merged = copy.deepcopy(dict(base))
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def _value(hint: Any, told: Metadata, value: Any, path: str) -> Any:
    kinds, null = optional(hint)
    if null and (value is None or value in ("null", "~")):
        return None
    records = [kind for kind in kinds if is_dataclass(kind)]
    if records and (isinstance(value, Mapping) or len(kinds) == 1):
        return build(records[0], value, path)  # type: ignore[arg-type]
    if len(kinds) > 1:
        hint = next((kind for kind in kinds if type(value) is kind), kinds[0])
    kind = optional(hint)[0][0]
    if kind is Any:
        return value
    if get_origin(kind) is tuple:
        return _items(hint, told, value, path)
    if get_origin(kind) is Mapping:
        return _entries(hint, told, value, path)
    return _scalar(hint, told, value, path)


def _items(hint: Any, told: Metadata, value: Any, path: str) -> tuple[Any, ...]:
    kind = get_args(optional(hint)[0][0])
    if not isinstance(value, list | tuple):
        raise _wrong(hint, told, value, path)
    kinds = kind[:1] * len(value) if kind[1:] == (...,) else kind
    if len(kinds) != len(value) or len(value) < told.get("least", 0):
        raise _wrong(hint, told, value, path)
    inner = {name: fact for name, fact in told.items() if name not in ("wants", "least", "unique")}
    made = tuple(
        _value(kind, inner, item, f"{path}.{place}")
        for place, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )
    if told.get("unique") and any(item in made[:place] for place, item in enumerate(made)):
        raise _wrong(hint, told, value, path)
    return made


def _entries(hint: Any, told: Metadata, value: Any, path: str) -> dict[str, Any]:
    inner = get_args(optional(hint)[0][0])[1]
    if not isinstance(value, Mapping) or len(value) < told.get("least", 0):
        raise _wrong(hint, told, value, path)
    names = told.get("names", "(?s:.*)")
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(names, name):
            said = told.get("named", "a text: put numbers in quotes")
            raise ConfigError(f"config key {path} has the key {name!r}; give {said}")
    below = told.get("values", {})
    return {name: _value(inner, below, item, _below(path, name)) for name, item in value.items()}


def _scalar(hint: Any, told: Metadata, value: Any, path: str) -> Any:
    kind = optional(hint)[0][0]
    allowed = choices(kind)
    target = type(allowed[0]) if allowed else kind
    found = from_text(target, value) if isinstance(value, str) else value
    found = float(found) if target is float and type(found) is int else found
    unknown = allowed and not any(found == one and type(found) is type(one) for one in allowed)
    if unknown and "wants" not in told:
        listed = ", ".join(map(str, allowed))
        raise ConfigError(f"config key {path} is {_shown(value)}; choose one of {listed}")
    if unknown or type(found) is not target or not _within(found, told):
        raise _wrong(hint, told, value, path)
    return found


def from_text(kind: type, text: str) -> Any:
    """Text as the value of a type that YAML would have read from it; the text, if it is none."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind in (int, float) and NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
    return text


def _within(value: Any, told: Metadata) -> bool:
    if isinstance(value, str):
        return re.fullmatch(told.get("pattern", "(?s:.*)"), value) is not None
    if isinstance(value, bool):
        return True
    bounds = ((holds, told[name]) for name, (_, holds) in BOUNDS.items() if name in told)
    return math.isfinite(value) and all(holds(value, bound) for holds, bound in bounds)


def _wrong(hint: Any, told: Metadata, value: Any, path: str) -> ConfigError:
    return ConfigError(f"config key {path} is {_shown(value)}; give {wanted(hint, told)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:76]} ..."


def _below(where: str, name: Any) -> str:
    return f"{where}.{name}" if where else str(name)
