"""Commands in Linux namespaces of their own: without a network, or with a read-only folder."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


def unshared(kind: str, script: str, **options) -> subprocess.CompletedProcess:
    """Run a shell script with its own mounts (kind "m") or its own network (kind "n")."""
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return subprocess.run(["unshare", *root, f"-{kind}", "sh", "-ec", script],
                          capture_output=True, text=True, timeout=600, **options)  # fmt: skip


def need_namespaces(kind: str) -> None:
    """Skip the test where the machine allows none."""
    try:
        allowed = unshared(kind, "true").returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("this machine permits no namespaces (unshare)")


def read_only(folder: Path) -> str:
    """The beginning of a script that sees `folder` read-only."""
    place = shlex.quote(str(folder))
    return f"mount --bind {place} {place}; mount -o remount,bind,ro {place}; "


def python(*arguments: str | Path) -> str:
    """This Python with arguments, as a line of a script."""
    return shlex.join([sys.executable, *map(str, arguments)])
