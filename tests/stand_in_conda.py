"""A stand-in for conda where none can be installed: not conda, but a real solver and installer.

It answers the commands that Snakemake gives, and makes environments with py-rattler (the library
under pixi) from one channel of files on this machine. What differs from the real thing:

- the channel holds `python`, which is the running interpreter, copied and told where its standard
  library is; `pip`; and every package installed next to the tests, at its version, by its name on
  conda-forge, without content: the environment sees the real ones through a .pth file;
- the `pip:` section is not downloaded. Each requirement is checked against the same packages.

Like conda 26.7 it looks every entry of `channels` up as a channel, `nodefaults` too.

Run as a program, with its folder in CSEG_STAND_IN: conda env create --file F --prefix P, and
`info`, `config`, `clean` and `--version` as Snakemake asks for them.
"""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distributions, version
from itertools import pairwise
from pathlib import Path

import yaml
from packaging.requirements import Requirement

SUBDIR = "linux-64"
CONDA_NAMES = {"matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}
PYTHON = sysconfig.get_python_version()
ACTIVATE = """\
export CONDA_PREFIX="$1"
export PATH="$1/bin:$PATH"
"""
# Each start of the environment's Python is noted, so that a test can see who ran a script.
NOTE = (
    "import os, sys; open(os.path.join(sys.prefix, 'started'), 'a')"
    ".write(' '.join(sys.orig_argv) + chr(10))"
)


def make_installation(folder: Path) -> Path:
    """Make the channel, `bin/conda` and `bin/activate` in `folder`; returns its `bin`."""
    command = [sys.executable, __file__, "stand-in"]
    subprocess.run(command, env=os.environ | {"CSEG_STAND_IN": str(folder)}, check=True)
    return folder / "bin"


def _make_installation(folder: Path) -> None:
    from rattler.index import index_fs  # here, since its threads disturb the end of a process

    home = Path(sys.executable).resolve()
    channel = folder / "conda-forge"
    interpreter = {
        "bin/python": home.read_bytes(),
        # as a conda environment does, and a virtual one does not, it looks into ~/.local
        "pyvenv.cfg": f"home = {home.parent}\ninclude-system-site-packages = true\n".encode(),
    }
    _package(channel, "python", ".".join(map(str, sys.version_info[:3])), interpreter)
    _package(channel, "pip", "25.0", {})
    installed = {found.name.lower().replace("_", "-"): found.version for found in distributions()}
    for name, number in installed.items():
        if name not in ("cseg", "pip"):
            _package(channel, CONDA_NAMES.get(name, name), number, {}, [f"python {PYTHON}.*"])
    asyncio.run(index_fs(channel))
    programs = folder / "bin"
    programs.mkdir()
    (programs / "activate").write_text(ACTIVATE)
    command = f'CSEG_STAND_IN="{folder}" exec "{sys.executable}" "{__file__}" "$@"'
    (programs / "conda").write_text(f"#!/bin/sh\n{command}\n")
    (programs / "conda").chmod(0o755)


def _package(
    channel: Path, name: str, number: str, files: dict[str, bytes], depends: Sequence[str] = ()
) -> None:
    """Write one package of the old and simple format, a tar.bz2 with its facts under info/."""
    facts = {"name": name, "version": number, "build": "0", "build_number": 0,
             "depends": list(depends),
             "subdir": SUBDIR, "timestamp": 1700000000000}  # fmt: skip
    paths = [{"_path": path, "path_type": "hardlink"} for path in files]
    info = {
        "info/index.json": json.dumps(facts).encode(),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
    }
    (channel / SUBDIR).mkdir(parents=True, exist_ok=True)
    with tarfile.open(
        channel / SUBDIR / f"{name}-{number}-0.tar.bz2", "w:bz2", compresslevel=1
    ) as tar:
        for path, content in (info | files).items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o755 if path.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(content))


async def create(environment: Path, prefix: Path, folder: Path) -> None:
    """Solve and install what an environment file asks for, then link its pip section."""
    from rattler import Channel, VirtualPackage, install, solve

    wanted = yaml.safe_load(environment.read_text())
    for name in wanted["channels"]:
        if not (folder / name).is_dir():
            sys.exit(f"UnavailableInvalidChannel: HTTP 404 NOT FOUND for channel {name}")
    channels = [Channel((folder / name).as_uri()) for name in wanted["channels"]]
    specs = [
        entry.removeprefix("conda-forge::")
        for entry in wanted["dependencies"]
        if isinstance(entry, str)
    ]
    pip = [
        text for entry in wanted["dependencies"] if isinstance(entry, dict) for text in entry["pip"]
    ]
    records = await solve(
        channels, specs, platforms=[SUBDIR, "noarch"], virtual_packages=VirtualPackage.detect()
    )
    await install(records, prefix, cache_dir=folder / "cache", show_progress=False)
    for text in pip:
        requirement = Requirement(text)
        try:
            fits = requirement.specifier.contains(version(requirement.name), prereleases=True)
        except PackageNotFoundError:
            fits = False
        if not fits:
            sys.exit(f"stand-in conda: {text} is not installed beside the tests")
    site = prefix / "lib" / f"python{PYTHON}" / "site-packages"
    site.mkdir(parents=True)
    (site / "stand_in.pth").write_text(f"{sysconfig.get_path('purelib')}\n{NOTE}\n")


def main(arguments: list[str]) -> None:
    folder = Path(os.environ["CSEG_STAND_IN"])
    if arguments[:2] == ["env", "create"]:
        options = dict(pairwise(arguments))
        prefix = Path(options["--prefix"])
        try:
            asyncio.run(create(Path(options["--file"]), prefix, folder))
        except BaseException:
            shutil.rmtree(prefix, ignore_errors=True)
            raise
    elif arguments[:1] == ["stand-in"]:
        _make_installation(folder)
    elif arguments[:1] == ["info"]:
        print(json.dumps({"conda_prefix": str(folder), "platform": SUBDIR}))
    elif arguments[:1] == ["config"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif arguments[:1] == ["clean"]:
        shutil.rmtree(folder / "cache", ignore_errors=True)
    elif arguments == ["--version"]:
        print("conda 26.7.0")
    else:
        sys.exit(f"stand-in conda: {' '.join(arguments)} is not answered")


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # threads of py-rattler abort an interpreter that ends in the usual way
