"""Stage `manifest`: what the experiment plans, for whoever reads its results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cseg.storage.files import write_json


def manifest(plan: Mapping[str, Any], out: str | Path) -> None:
    """Write the plan of an experiment (`cseg.experiment.Experiment.manifest`) as JSON."""
    write_json(out, plan)
