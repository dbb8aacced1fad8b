"""The experiment: its config read, checked once, and resolved for each run.

Needs neither torch nor Snakemake. The same functions serve the workflow and the command line.
"""

from cseg.experiment.definition import Arm, Experiment, Run
from cseg.experiment.reading import load, parse, read_yaml
from cseg.settings.build import merge

__all__ = ["Arm", "Experiment", "Run", "load", "merge", "parse", "read_yaml"]
