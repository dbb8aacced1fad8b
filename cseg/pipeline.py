"""Where the workflow's own files are: next to the package in a checkout, inside an installed copy.

The wheel carries Snakefile, config.yaml, workflow/, profiles/ and envs/ in `cseg/_pipeline`
(pyproject.toml); a checkout has them at its top.
"""

from pathlib import Path

PACKAGE = Path(__file__).parent
PACKED = PACKAGE / "_pipeline"
HOME = PACKED if PACKED.is_dir() else PACKAGE.parent
SNAKEFILE = HOME / "Snakefile"
DEFAULT_CONFIG = HOME / "config.yaml"
PUBLISHED = HOME / "workflow" / "resources" / "published.csv"


def shipped_config(word: str) -> str:
    """The path of a config of workflow/configs that is named alone, as smoke.yaml; else the word.

    A file of that name in the working directory goes before it.
    """
    shipped = HOME / "workflow" / "configs" / word
    named = word.endswith(".yaml") and not Path(word).exists() and shipped.is_file()
    return str(shipped) if named else word
