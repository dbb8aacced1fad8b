"""The conda environments: pinned as pyproject is, each with what its rules import and no more."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from small_runs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cityscapes"]]
ENVS = sorted((ROOT / "envs").glob("*.yaml"))
INSTALLED = packages_distributions()  # by the name that is imported
BROUGHT = {"triton", "appdirs", "requests"}  # by torch, and by cityscapesscripts


def plain(requirement: str) -> str:
    """Name of a requirement in the one spelling of it."""
    return re.split("[=<>]", requirement)[0].lower().replace("_", "-")


def distribution(module: str) -> str:
    """What to install for `import module`."""
    pinned = {plain(pin) for pin in PINS}
    names = [plain(name) for name in INSTALLED.get(module, [module])]
    return next((name for name in names if name in pinned), names[0])


def pip_section(path) -> list[str]:
    return next(
        entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"]
        if isinstance(entry, dict)
    )  # fmt: skip


def rules_of(env) -> list[str]:
    """Names of the adapters whose rule runs in `env`."""
    found = []
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for block in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            if f"envs/{env.name}" in block and "script:" in block:
                found += re.findall(r'"\.\./scripts/(\w+)\.py"', block)
    return found


def imported(path) -> set[str]:
    """Every module that a file imports, at any place, or names for an import at run time."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and re.fullmatch(r"cseg\.[a-z0-9_.]+", str(node.value)):
            found.add(node.value)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def needed(adapters: list[str]) -> set[str]:
    """Distributions that the adapters import, through every module of cseg they reach."""
    files = [ROOT / "workflow" / "scripts" / f"{name}.py" for name in adapters]
    seen, outside = set(), set()
    while files:
        path = files.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        for module in imported(path):
            top, *rest = module.split(".")
            if top != "cseg":
                outside |= {top} - sys.stdlib_module_names
                continue
            place = ROOT.joinpath("cseg", *rest)
            files += [place.with_suffix(".py"), place / "__init__.py"]
    return {distribution(name) for name in outside - BROUGHT}


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_pins_are_those_of_pyproject(env):
    wrong = {text for text in pip_section(env) if text not in PINS}
    assert not wrong


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_an_env_holds_what_its_rules_import_and_no_more(env):
    rules = rules_of(env)
    listed = {plain(text) for text in pip_section(env)}
    assert rules and listed == needed(rules)


def test_every_rule_with_a_script_has_an_environment():
    scripts = {path.stem for path in (ROOT / "workflow" / "scripts").glob("*.py")}
    assert scripts == {name for env in ENVS for name in rules_of(env)}


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_only_training_needs_torch(env):
    assert any(text.startswith("torch") for text in pip_section(env)) == (env.stem == "train")


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_python_is_new_enough_and_channels_are_named(env):
    content = yaml.safe_load(env.read_text())
    floor = PROJECT["requires-python"].removeprefix(">=")
    python = next(e for e in content["dependencies"] if str(e).startswith("python"))
    version = tuple(int(part) for part in python.split("=")[-1].split("."))
    assert version >= tuple(int(part) for part in floor.split("."))
    assert content["channels"] == ["conda-forge", "nodefaults"]
