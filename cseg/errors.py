"""Failures a user can mend: one sentence saying what is wrong, where, and what to do."""

import re


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
