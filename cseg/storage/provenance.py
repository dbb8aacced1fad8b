"""Where a result comes from: code, libraries, machine."""

import hashlib
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cseg

PACKAGE = Path(__file__).parent.parent


@lru_cache(maxsize=1)
def source_fingerprint() -> str:
    """First 16 hex digits of a sha256 over the library's source files, names and bytes."""
    digest = hashlib.sha256()
    sources = {path for path in PACKAGE.rglob("*.py") if "_pipeline" not in path.parts}
    for path in sorted(sources):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def git_revision() -> str:
    """Commit of the source, with "+changes" where tracked files differ from it; or "unknown"."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PACKAGE), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def provenance() -> dict[str, str]:
    """Columns that say which code and libraries made a row."""
    return {
        "source_fingerprint": source_fingerprint(),
        "git_revision": git_revision(),
        "cseg_version": cseg.__version__,
        "python_version": platform.python_version(),
        "torch_version": _version("torch"),
        "torchvision_version": _version("torchvision"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
