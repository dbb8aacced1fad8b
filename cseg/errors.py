"""Failures a user can mend: one sentence saying what is wrong, where, and what to do."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, requires


class CsegError(Exception):
    """Base of every failure that is reported as one sentence, without a traceback."""


class ConfigError(CsegError):
    """A setting is unknown, of the wrong type, or out of range."""


class DataError(CsegError):
    """An image, label, list or archive is missing, damaged or mismatched."""


class TrainingError(CsegError):
    """Training cannot go on: a loss that is not finite, a foreign checkpoint, no memory."""


def reason(error: BaseException) -> str:
    """What a library's error says, as a part of a sentence: on one line, without full stops."""
    words = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"[.!?]+ ", ", ", words).rstrip(".!? ")


def listed(names: Sequence[object], most: int = 3) -> str:
    """The first names, as a part of a sentence, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


@contextmanager
def readable(what: object, remedy: str, *more: type[Exception]) -> Iterator[None]:
    """Turn what reading a file raises (OSError, ValueError, `more`) into a DataError."""
    caught: tuple[type[Exception], ...] = (OSError, ValueError, *more)
    try:
        yield
    except caught as error:
        raise DataError(f"cannot read {what}: {reason(error)}; {remedy}") from error


def install_command(extra: str) -> str:
    """The pip command that brings the packages of an extra of pyproject.toml.

    They are named one by one: cseg may be a checkout or a wheel, and no index knows it.
    """
    packages: list[str] = []
    with suppress(PackageNotFoundError):
        packages = _packages(requires("cseg") or [], extra)
    if not packages:  # a checkout that was never installed, or before it had this extra
        return f"make venv, or pip install -e '.[{extra}]' in the checkout"
    return f"pip install {' '.join(packages)}"


def _packages(listed: list[str], extra: str) -> list[str]:
    found = []
    for requirement in listed:
        need, _, marker = (part.strip() for part in requirement.partition(";"))
        if not re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", marker):
            continue
        nested = re.fullmatch(r"cseg\[(\w+)\]", need)
        found += _packages(listed, nested[1]) if nested else [f"'{need}'"]
    return found
