"""Dry-runs the workflow once for each config named on stdin, in this one process.

They run in the folder that the argument names, or in the config's. Builds the same DAG as
`snakemake -n --configfile CONFIG`, through Snakemake's API; a line of JSON per config says what
became of it: null, or the kind and the words of the error.
"""

import json
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    ResourceSettings,
)

SNAKEFILE = Path(__file__).parent.parent / "Snakefile"


def dry_run(config: Path, folder: Path) -> list[str] | None:
    """The error of a dry run of `config`, or None."""
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=2),
                config_settings=ConfigSettings(configfiles=[config]),
                snakefile=SNAKEFILE,
                workdir=folder,
            )
            workflow.dag(dag_settings=DAGSettings()).execute_workflow(executor="dryrun")
    except BaseException as error:
        return [type(error).__name__, str(error)]
    return None


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        path = Path(line.strip())
        folder = Path(sys.argv[1]) if sys.argv[1:] else path.parent
        print(json.dumps(dry_run(path, folder)), file=answers, flush=True)
