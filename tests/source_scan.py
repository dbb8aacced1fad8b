"""Finds calls in Python source that could run code from data or leave checks out."""

import ast
from collections.abc import Iterator

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy"}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load",
    "yaml.full_load", "yaml.unsafe_load", "torch.jit.load", "torch.hub.load", "pd.read_pickle",
    "pandas.read_pickle", "ssl._create_unverified_context",
}  # fmt: skip
METHODS = {"extractall", "to_pickle", "read_pickle"}  # of whatever object
NETWORK = {"urllib.request", "urllib3", "requests", "http.client", "socket", "ftplib", "httpx"}


def dangers(source: str) -> Iterator[str]:
    """Each thing in `source` that this project does not do, with its line."""
    for node in ast.walk(ast.parse(source)):
        for found in _of_imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else []:
            yield f"line {node.lineno}: imports {found}"
        for found in _of_call(node) if isinstance(node, ast.Call) else []:
            yield f"line {node.lineno}: {found}"


def network_imports(source: str) -> set[str]:
    """Modules of `source` that can open a connection."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found & NETWORK


def _of_imports(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = (
        [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
    )
    return [name for name in names if name.split(".")[0] in MODULES]


def _of_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if name in CALLS or name.rpartition(".")[2] in METHODS:
        yield f"calls {name}"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "calls torch.load without weights_only=True"
    if given.get("shell", "False") != "False":
        yield f"{name} goes through a shell"
    if given.get("verify", "True") == "False":
        yield f"{name} verifies no certificate"
    if given.get("allow_pickle", "False") != "False":
        yield f"{name} unpickles"
