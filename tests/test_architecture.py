"""Folder = floor: imports only point downwards, no circles; light stages stay light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from small_runs import ROOT

PACKAGE = ROOT / "cseg"
# From top to bottom, as in docs/architecture.md. Rooms of one floor do not import each other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"init"},
    {"estimate"},
    {"experiment"},
    {"paper"},
    {"stages"},
    {"inference"},
    {"training"},
    {"images"},
    {"jobs", "model"},
    {"compute", "datasets"},
    {"losses", "storage"},
    {"pipeline", "settings"},
    {"errors"},
]


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def floor(module: str) -> int:
    """Its number from the top; the package itself, which holds the version, is the ground."""
    if module == "cseg":
        return len(FLOORS)
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def imports() -> dict[str, set[str]]:
    """Modules of the package, and which of the package's modules each imports, at any place."""
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        graph[name] = found
    return {name: {m for m in found if m in graph and m != name} for name, found in graph.items()}


def test_every_room_has_a_floor_and_every_floor_its_rooms():
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.name == "__main__.py" or (path.name[:2] != "__" and path.suffix in ("", ".py"))
    }
    assert rooms == set().union(*FLOORS)


def test_at_most_eight_modules_stand_in_the_root():
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_imports_only_point_downwards():
    wrong = [
        f"{name} imports {other}"
        for name, found in imports().items()
        for other in found
        if room(name) != room(other) and floor(other) <= floor(name)
    ]
    assert not wrong


def test_there_is_no_circle():
    graph = {name: {m for m in found if m != "cseg"} for name, found in imports().items()}
    # a package's __init__ gathers its own modules: that is no circle
    graph = {
        name: {m for m in found if not name.startswith(f"{m}.")} for name, found in graph.items()
    }
    done: set[str] = set()
    while len(done) < len(graph):
        free = {name for name, found in graph.items() if name not in done and found <= done}
        assert free, f"circle among {sorted(set(graph) - done)}"
        done |= free


def test_a_rule_its_adapter_and_its_stage_carry_one_name():
    scripts = {path.stem for path in (ROOT / "workflow" / "scripts").glob("*.py")}
    rules = {
        line.split()[1].rstrip(":")
        for path in (ROOT / "workflow" / "rules").glob("*.smk")
        for line in path.read_text().splitlines()
        if line.startswith("rule ")
    }
    modules = {path.stem for path in (PACKAGE / "stages").glob("*.py")}
    modules |= {path.stem for path in (PACKAGE / "paper").glob("*.py")}
    assert rules == scripts
    assert rules <= modules


def test_adapters_are_short():
    for path in (ROOT / "workflow" / "scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) < 40, path.name


def test_settings_need_nothing_but_python_and_light_stages_no_torch():
    check = """
import importlib, sys
import cseg.settings.label_counts, cseg.settings.run
assert not {'numpy', 'yaml', 'torch', 'pandas', 'PIL'} & set(sys.modules)
for module in ('experiment', 'jobs.adapter', 'stages.fetch', 'stages.index', 'stages.subset',
               'stages.summary', 'paper.tables', 'paper.figures', 'paper.render'):
    importlib.import_module(f'cseg.{module}')
    assert not {'torch', 'torchvision'} & set(sys.modules), module
"""
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_the_loss_needs_torch_alone_and_what_trains_neither_snakemake_nor_a_checker_of_configs():
    """A bare GPU machine builds settings and runs the stages."""
    check = """
import sys, cseg.losses
assert not {'torchvision', 'triton'} & set(sys.modules)
sys.modules |= dict.fromkeys(('snakemake', 'pydantic', 'jsonschema', 'yaml'))
import cseg.settings, cseg.stages.pretrain, cseg.stages.finetune, cseg.stages.evaluate
"""
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_what_the_page_says_is_in_a_file_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Where is it?")[2]
    answers = re.findall(r"\| `([\w/.]+)` \| `(\w+)` \|", page)
    assert len(answers) == 15
    for file, name in answers:
        assert re.search(
            rf"^ *(# *)?(def )?{name}\b[(:= ]", (ROOT / file).read_text(), re.MULTILINE
        ), file


def test_no_file_is_long():
    for path in [*PACKAGE.rglob("*.py"), *Path(ROOT / "benchmarks").glob("*.py")]:
        assert len(path.read_text().splitlines()) <= 320, path
