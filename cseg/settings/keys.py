"""What a key of the config is: the fields of a dataclass, and everything that is said of them.

A field's metadata holds `description`, and where they apply `unit`, `ge`, `gt`, `le`, `lt` (bounds
of its numbers, wherever they are nested), `pattern` (of its texts), `names` (pattern of a mapping's
keys), `least` (items), `unique` (items) and `wants` (what to give, in words).
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

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


def bounds(metadata: Metadata) -> str:
    """The range of a number in words, such as " above 0 and up to 10"; empty without bounds."""
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "to below"}
    told = [f"{words[name]} {metadata[name]}" for name in words if name in metadata]
    return "".join(f" {part}" for part in told)


def wanted(hint: Any, metadata: Metadata) -> str:
    """What to give for a key, in words."""
    kinds, null = optional(hint)
    told = str(metadata.get("wants") or " or ".join(_wanted(kind, metadata) for kind in kinds))
    return f"{told}, or null" if null else told


def _wanted(kind: Any, metadata: Metadata) -> str:
    if choices(kind):
        return "one of " + ", ".join(map(str, choices(kind)))
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + bounds(metadata)
    if get_origin(kind) is tuple:
        first, *rest = get_args(kind)
        length = "a list" if rest == [...] else f"a list of {len(rest) + 1} entries"
        return f"{length}, each {wanted(first, metadata)}"
    if get_origin(kind) is Mapping or is_dataclass(kind):
        return "a mapping of keys"
    return {bool: "true or false", str: "a text"}.get(kind, "a value")


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
