import os
import shlex
import sys

# The folder of this workflow, also where another one imports it as a module: a checkout, whose
# library jobs import (in conda environments and on a cluster, too), or the inside of an installed
# cseg, which Snakemake's own packages bring.
HOME = os.path.dirname(os.path.dirname(str(workflow.current_basedir)))
PREFIX = ""
if os.path.isdir(os.path.join(HOME, "cseg")):
    sys.path.insert(0, HOME)
    PREFIX += (
        f"export PYTHONPATH={shlex.quote(HOME)}${{{{PYTHONPATH:+:$PYTHONPATH}}}}; "
    )

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from cseg import experiment
from cseg.errors import CsegError
from cseg.stages.fetch import sources
from cseg.stages.subset import parse_token

# A conda environment holds what its jobs need; ~/.local may hold other versions.
if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
    PREFIX += "export PYTHONNOUSERSITE=1; "
shell.prefix(PREFIX)
try:
    experiment.check(config)
except CsegError as error:
    raise WorkflowError(str(error))


DATASET = config["dataset"]
DATASET_OPTIONS = config["dataset_options"].get(DATASET, {})
RESULTS = f"{config['results_dir']}/{DATASET}"
RUN = f"{RESULTS}/{{arm}}/n{{n}}/seed{{seed}}"
RUNS = expand(
    RUN,
    arm=config["run_arms"],
    n=experiment.count_tokens(config),
    seed=config["seeds"],
)


wildcard_constraints:
    arm="[a-z][a-z0-9_]*",
    n=r"\d+|\d+of\d+|0?\.\d+|[a-z][a-z0-9_]*",
    seed=r"\d+",


def label_count(wildcards):
    """The label count of a run, as the config writes it: a count, or the name of a list."""
    return (
        wildcards.n
        if wildcards.n in config["label_lists"]
        else parse_token(wildcards.n)
    )


def label_list(wildcards):
    """The published list of a run, where its label count is a name."""
    return config["label_lists"].get(wildcards.n, [])


def dataset_sources(wildcards):
    """Files in which the user describes the dataset."""
    return sources(DATASET, config["data_dir"], DATASET_OPTIONS)


def arm_settings(wildcards):
    """The resolved settings of a run."""
    return experiment.arm_settings(config, wildcards.arm, int(wildcards.seed))


def title(wildcards):
    """What a run is called in progress lines and job names."""
    return f"{DATASET}/{wildcards.arm}/n{wildcards.n}/seed{wildcards.seed}"


def has_pretraining(wildcards):
    """Whether the arm pretrains."""
    return config["arms"][wildcards.arm]["scope"] != "none"


def pretrained(wildcards):
    """Weights that fine-tuning starts from, where the arm pretrains."""
    return (
        f"{RUN}/pretrain.pt".format(**wildcards) if has_pretraining(wildcards) else []
    )


def teacher(wildcards):
    """The fine-tuned network that labels for an arm with a teacher, of the same subset."""
    run = {**wildcards, "arm": config["arms"][wildcards.arm]["teacher"]}
    return f"{RUN}/finetune.pt".format(**run)


def pseudo_labels(wildcards):
    """The list of pseudo labels and their folder, where the arm has a teacher."""
    if "teacher" not in config["arms"][wildcards.arm]:
        return []
    run = RUN.format(**wildcards)
    return [f"{run}/pseudo_labels.csv", f"{run}/pseudo_labels"]


def costs(wildcards):
    """Cost files of the stages of a run."""
    stages = ["pretrain", "finetune"] if has_pretraining(wildcards) else ["finetune"]
    return [f"{RUN}/{stage}_cost.json".format(**wildcards) for stage in stages]


def ablation_tables(wildcards):
    """The tables, where the config plans ablations."""
    if not config["ablations"]:
        raise WorkflowError(
            "the config plans no ablations; add --configfile workflow/configs/ablations.yaml"
        )
    return rules.tables.output


def starts(wildcards):
    """Where the fine-tuning of every run starts: arm, subset, weights, settings of the network."""
    found = []
    for arm in config["run_arms"]:
        for n in experiment.count_tokens(config):
            for seed in config["seeds"]:
                run = {"arm": arm, "n": n, "seed": seed}
                settings = experiment.arm_settings(config, arm, seed)
                pretrains = settings["scope"] != "none"
                found.append(
                    {
                        "arm": arm,
                        "subset": f"{RESULTS}/subsets/n{n}_seed{seed}.csv",
                        "pretrained": (
                            f"{RUN}/pretrain.pt".format(**run) if pretrains else None
                        ),
                        "settings": {
                            key: settings[key]
                            for key in (
                                "init",
                                "seed",
                                "image",
                                "model",
                                "device",
                                "deterministic",
                            )
                        },
                    }
                )
    return found


def start_files(wildcards):
    """The subsets and weights that `starts` names."""
    named = [(start["subset"], start["pretrained"]) for start in starts(wildcards)]
    return sorted({path for pair in named for path in pair if path})
