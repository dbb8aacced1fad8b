"""The experiment: its config read, checked once, and resolved for each run.

Needs neither torch nor Snakemake. The same functions serve the workflow and the command line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from cseg.datasets import typed_options
from cseg.errors import ConfigError, reason
from cseg.experiment.checks import check
from cseg.experiment.definition import Arm, Experiment, Run
from cseg.pipeline import DEFAULT_CONFIG
from cseg.settings.keys import build, merge, plain
from cseg.settings.label_counts import count_token, parse_token

__all__ = ["Arm", "Experiment", "Run", "load", "merge", "parse", "read_yaml"]


def load(paths: Sequence[str | Path], changes: Mapping[str, Any] | None = None) -> Experiment:
    """Merge config.yaml with overlays, later ones winning key by key, and check the result.

    `changes` are values on top of them.

    Raises:
        ConfigError: a file cannot be read, or the config is wrong; names file or key.
    """
    config = reduce(merge, map(read_yaml, [DEFAULT_CONFIG, *paths]))
    return parse(merge(config, changes or {}))


def parse(config: Mapping[str, Any]) -> Experiment:
    """Check a whole config: keys, types, ranges, and that its parts fit together.

    Raises:
        ConfigError: the first thing wrong, by key.
    """
    experiment = build(Experiment, config)
    lists = experiment.label_lists
    counts = tuple(
        n if n in lists else parse_token(count_token(n)) for n in experiment.label_counts
    )
    dataset, given = experiment.dataset, experiment.options
    options = typed_options(dataset, given)
    typed = {dataset: {name: plain(getattr(options, name)) for name in given}}
    experiment = replace(
        experiment,
        label_counts=counts,
        dataset_options={**experiment.dataset_options, **typed},
    )
    check(experiment)
    return experiment


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: missing, not YAML, or no mapping; names the file.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"config file {path} cannot be read: {reason(error)}; correct it"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"config file {path} holds no keys; write `key: value` lines")
    return content
