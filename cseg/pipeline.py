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
DAG = HOME / "workflow" / "resources" / "dag.csv"
SCHEMA = HOME / "workflow" / "schemas" / "config.schema.yaml"
