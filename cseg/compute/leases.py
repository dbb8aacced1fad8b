"""Which GPU a job takes on its machine, so that jobs side by side never share one by accident.

A lease is a lock (flock) on a file per GPU in /tmp. The kernel releases it when the process ends,
however it ends. A job that has a GPU to itself locks the file alone; jobs that share one
(`jobs_per_gpu`) lock it together, and a file per place as well. Containers have a /tmp each, and
do not see each other's leases.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cseg.errors import ConfigError

FOLDER = Path("/tmp/cseg-gpus")  # not TMPDIR, which differs between jobs of one machine
VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.2
ASK_SECONDS = 60.0  # nvidia-smi of an idle driver takes some


def visible_gpus() -> list[str]:
    """The GPUs and MIG instances that this process may use, by the names that CUDA knows.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: numbers, UUIDs or their beginnings, up to the
    first that names nothing. Numbers are those of nvidia-smi. Slurm sets it to a job's GPUs.
    """
    cards = _cards()
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return [name for card, instances in cards.items() for name in instances or [card]]
    names: list[str] = []
    for token in visible.split(","):
        name = _named(token.strip(), cards)
        if name is None or name in names:
            break
        names.append(name)
    return names


def _named(token: str, cards: Mapping[str, list[str]]) -> str | None:
    """What one entry of CUDA_VISIBLE_DEVICES names; None if that is nothing."""
    if token.isdecimal():
        at = list(cards.items())[int(token) : int(token) + 1]
        return next((name for card, instances in at for name in (*instances, card)), None)
    if not token.startswith(("GPU-", "MIG-")):
        return None
    names = [name for card, instances in cards.items() for name in (card, *instances)]
    return next((name for name in names if name.startswith(token)), None)


def _cards() -> dict[str, list[str]]:
    """The GPUs of this machine by their names for CUDA, and the MIG instances of each, if any.

    They are those that nvidia-smi lists, or else device files.
    """
    program = shutil.which("nvidia-smi")
    if program is not None:
        with suppress(OSError, subprocess.SubprocessError):
            listed = subprocess.run(
                [program, "-L"], capture_output=True, text=True, check=True, timeout=ASK_SECONDS
            )
            cards: dict[str, list[str]] = {}
            # a line per GPU, followed by a line per MIG instance
            for name in re.findall(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", listed.stdout):
                if name.startswith("GPU-"):
                    cards[name] = instances = []
                elif cards:
                    instances.append(name)
            return cards
    files = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return {number: [] for number in sorted(files, key=int)}


@contextmanager
def leased(count: int, jobs_per_gpu: int = 1, folder: Path = FOLDER) -> Iterator[list[str]]:
    """Take `count` different GPUs for the block, waiting until as many are free.

    Yields their names. CUDA sees these alone, also in processes that the block starts; so enter
    the block before torch first uses CUDA. Without a visible GPU nothing is taken. `jobs_per_gpu`
    jobs may share a GPU; `folder` holds the locks, common to every job of the machine.

    Raises:
        ConfigError: fewer are visible.
    """
    names = visible_gpus()
    if not names:
        yield []
        return
    if count > len(names):
        raise ConfigError(
            f"resource gpu is {count} but {len(names)} GPUs are visible here; lower it, or correct "
            f"{VISIBLE}"
        )
    if count > 1 and any(name.startswith("MIG-") for name in names):
        raise ConfigError(
            f"resource gpu is {count} but the GPUs here are MIG instances, which cannot train "
            "together; set it to 1"
        )
    held, locks = _wait(names, count, jobs_per_gpu, folder)
    # A loader's process that was forked must not keep the lease of a job that was killed.
    os.register_at_fork(after_in_child=locks.close)
    before = {VISIBLE: os.environ[VISIBLE]} if VISIBLE in os.environ else {}
    os.environ[VISIBLE] = ",".join(held)
    print(f"GPU {', '.join(held)}", file=sys.stderr, flush=True)
    try:
        yield held
    finally:
        locks.close()
        os.environ.pop(VISIBLE)
        os.environ.update(before)


def _wait(
    names: Sequence[str], count: int, jobs_per_gpu: int, folder: Path
) -> tuple[list[str], ExitStack]:
    """Take `count` of the GPUs; their names, and their locks, which closing the stack gives up."""
    told = False
    while True:
        held: list[str] = []
        with os.fdopen(_open(folder / "turn")) as turn, ExitStack() as locks:
            fcntl.flock(turn, fcntl.LOCK_EX)  # two jobs that need several must not take one each
            for place in range(jobs_per_gpu):  # one job on every GPU before two are on any
                for name in names:
                    if len(held) < count and name not in held:
                        lock = _take(name, place, jobs_per_gpu, folder)
                        if lock is not None:
                            locks.push(lock)
                            held.append(name)
            if len(held) == count:
                return held, locks.pop_all()
        if not told:
            print(f"waits for a free GPU of {len(names)}", file=sys.stderr, flush=True)
        told = True
        time.sleep(POLL_SECONDS)


def _take(name: str, place: int, jobs_per_gpu: int, folder: Path) -> ExitStack | None:
    """Lock a place on a GPU; None if somebody has it."""
    locks = [(name, fcntl.LOCK_EX if jobs_per_gpu == 1 else fcntl.LOCK_SH)]
    if jobs_per_gpu > 1:
        locks.append((f"{name}.{place}", fcntl.LOCK_EX))
    with ExitStack() as held:
        for file, kind in locks:
            handle = _open(folder / file.replace("/", "_"))
            held.callback(os.close, handle)  # of the last copy of a file: gives up the lock
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
        return held.pop_all()


def _open(path: Path) -> int:
    """The file of a lock, which other users can open, too; it is empty and never removed."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o1777)
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        os.fchmod(handle, 0o644)  # whatever the umask
        return handle
    except OSError as error:
        raise ConfigError(
            f"the lock of a GPU, {path}, cannot be opened: {error.strerror}; remove it, or give "
            "others the right to read it"
        ) from error
