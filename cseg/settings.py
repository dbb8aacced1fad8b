"""Plain mappings, as a config holds them, to the typed settings of the parts."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from cseg.errors import ConfigError

T = TypeVar("T")


def from_mapping(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build the dataclass `kind` from `values`; lists become tuples.

    Args:
        kind: a dataclass.
        values: its fields by name.
        where: the config key they come from, for messages.

    Raises:
        ConfigError: a key too many or a key missing.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(
                f"config key {where}.{key} is unknown; known keys: {', '.join(known)}"
            )
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"config key {where}.{name} is missing; add it")
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return kind(**plain)
