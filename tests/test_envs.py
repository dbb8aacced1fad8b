"""The conda environments: pinned as the lock is, each with what its rules import and no more."""

import ast
import re
import runpy
import sys
from importlib.metadata import packages_distributions

import pytest
import yaml
from small_runs import ROOT


def plain(requirement: str) -> str:
    """Name of a requirement in the one spelling of it."""
    return re.split("[=<>]", requirement)[0].lower().replace("_", "-")


MAKER = runpy.run_path(str(ROOT / "envs" / "lock.py"))
PINNED = {plain(need) for need in MAKER["needs"]()}
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = dict(line.split()[0].split("==") for line in LOCK.splitlines() if "==" in line)
ENVS = sorted((ROOT / "envs").glob("*.yaml"))
INSTALLED = packages_distributions()  # by the name that is imported
BROUGHT = {"triton", "appdirs", "requests"}  # by torch, and by cityscapesscripts


def distribution(module: str) -> str:
    """What to install for `import module`."""
    names = [plain(name) for name in INSTALLED.get(module, [module])]
    return next((name for name in names if name in PINNED), names[0])


def pins(path) -> dict[str, str]:
    """What an environment asks for, by its name on PyPI, but for the interpreter and pip."""
    listed = yaml.safe_load(path.read_text())["dependencies"]
    texts = [entry for entry in listed if isinstance(entry, str) and "::" not in entry]
    texts += next((entry["pip"] for entry in listed if isinstance(entry, dict)), [])
    found = dict(re.split("==?", text) for text in texts)
    return {plain(MAKER["PYPI_NAMES"].get(name, name)): pin for name, pin in found.items()}


def rules_of(env) -> list[str]:
    """Names of the adapters whose rule runs in `env`."""
    found = []
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for block in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            if f"envs/{env.name}" in block and "script:" in block:
                found += re.findall(r'"\.\./scripts/(\w+)\.py"', block)
    return found


def imported(path) -> set[str]:
    """Every module that a file imports, at any place, or names for an import at run time.

    A package names modules of its own by their last word.
    """
    found = set()
    package = ".".join(path.parent.relative_to(ROOT).parts)
    own = {p.stem for p in path.parent.glob("*.py")} if path.name == "__init__.py" else set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and node.value in own:
            found.add(f"{package}.{node.value}")
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
def test_every_pin_is_exact_and_that_of_the_lock(env):
    assert pins(env) == {name: LOCKED[name] for name in pins(env)}


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_an_env_holds_what_its_rules_import_and_no_more(env):
    rules = rules_of(env)
    wanted = needed(rules) - (set() if env.stem == "cityscapes" else {"cityscapesscripts"})
    assert rules and pins(env).keys() == wanted


def test_every_rule_with_a_script_has_an_environment():
    scripts = {path.stem for path in (ROOT / "workflow" / "scripts").glob("*.py")}
    assert scripts == {name for env in ENVS for name in rules_of(env)}


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_only_training_needs_torch_and_only_cityscapes_its_scripts(env):
    assert ("torch" in pins(env)) == (env.stem == "train")
    assert ("cityscapesscripts" in pins(env)) == (env.stem == "cityscapes")


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_interpreter_and_channel_are_those_that_every_conda_takes(env):
    """conda 26.7 takes `nodefaults` for a channel; older ones need the channel at the packages."""
    content = yaml.safe_load(env.read_text())
    minor = re.search(r"Python (3\.\d+)", LOCK)[1]
    assert content["channels"] == ["conda-forge"]
    assert content["dependencies"][:2] == [f"conda-forge::python={minor}", "conda-forge::pip"]


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_pinning_again_changes_nothing_and_takes_other_versions(env):
    text = env.read_text()
    versions = LOCKED | {"python": re.search(r"Python (3\.\d+)", LOCK)[1]}
    assert MAKER["repinned"](text, versions) == text
    other = MAKER["repinned"](text, versions | {"numpy": "9.9.9", "python": "3.99"})
    assert "numpy=9.9.9" in other and "python=3.99" in other
