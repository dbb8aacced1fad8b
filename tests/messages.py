"""What a failure message must be: one sentence that names the thing and the remedy."""

import re

REMEDIES = (
    "add", "change", "check", "choose", "correct", "create", "delete", "do not", "evaluate",
    "fetch", "finish", "free", "gather", "get", "give", "install", "keep", "let", "look", "lower",
    "make", "move", "name", "pip install", "put", "raise", "read", "remove", "rename", "replace",
    "restore", "run", "save", "see", "set", "summarise", "take", "use", "wait", "write",
)  # fmt: skip
REMEDY = re.compile(
    rf"(?:[;:] |, or |; (?:it|if) [^;]*[:,] )(?:{'|'.join(REMEDIES)})\b|\bmust (?:be|have|hold)\b"
)
NAMED = re.compile(r"[/\\'`=0-9]|\w[._]\w|config key|dataset|list of \w|^\w+ must\b")
NEXT_SENTENCE = re.compile(r"[.!?]\s+[A-Z]|\n")


def fault_of(message: str) -> str | None:
    """What is wrong with the form of a message, or None.

    A list of several problems (a head that ends with a colon, then lines that begin with a dash) is
    as good as its lines.
    """
    head, *lines = message.split("\n- ")
    if lines and head.endswith(":"):
        return next(filter(None, map(fault_of, lines)), None)
    if NEXT_SENTENCE.search(message):
        return "is more than one sentence"
    if message.rstrip() != message or message.endswith("."):
        return "ends in a full stop or in white space"
    if not NAMED.search(message):
        return "names nothing"
    if not REMEDY.search(message):
        return "names no remedy"
    return None
