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

from cseg.compute.leases import visible_gpus
from cseg.datasets import description_files, outlines_state
from cseg.errors import CsegError
from cseg.experiment.checks import cautions
from cseg import experiment
from cseg.settings.keys import plain
from cseg.settings.run import pretraining
from cseg.settings.label_counts import parse_token

# A conda environment holds what its jobs need; ~/.local may hold other versions.
if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
    PREFIX += "export PYTHONNOUSERSITE=1; "
shell.prefix(PREFIX)
try:
    EXPERIMENT = experiment.parse(config)
    RESULTS = EXPERIMENT.results
except CsegError as error:
    raise WorkflowError(str(error))
if workflow.is_main_process:
    for caution in cautions(EXPERIMENT):
        print(f"warning: {caution}", file=sys.stderr)
reported = any(word.startswith("--report") for word in sys.argv)
if reported and str(workflow.basedir) == HOME and not os.path.isdir(RESULTS):
    raise WorkflowError(
        f"{RESULTS} holds nothing to report; add the --configfile that the experiment ran with"
    )


# If jobs run on this machine and it has GPUs, each job of a network takes one (`gpu: N` takes N)
# and further jobs wait; which one, the job finds by a lease (cseg/compute/leases.py). Its share of
# the cores goes to its loader processes. Elsewhere, as on Slurm, the profile says how many.
JOBS_PER_GPU = 0 if EXPERIMENT.device == "cpu" else EXPERIMENT.jobs_per_gpu
GPU_JOBS = 0
if workflow.is_main_process and workflow.nodes is None and JOBS_PER_GPU:
    GPU_JOBS = JOBS_PER_GPU * len(visible_gpus())
if GPU_JOBS and "gpu" not in workflow.global_resources:
    workflow.global_resources["gpu"] = GPU_JOBS
GPU = min(GPU_JOBS, 1)
GPU_THREADS = (
    max(1, (workflow.resource_settings.cores or 1) // GPU_JOBS) if GPU_JOBS else 1
)


# What jobs ask for: those of tables and lists, and those that compute with a network.
LIGHT = {"mem_mb": 2000, "runtime": 10, "gpu": 0}
NETWORK = {"mem_mb": 4000, "gpu": GPU, "jobs_per_gpu": JOBS_PER_GPU}
RUN = f"{RESULTS}/{{arm}}/n{{n}}/seed{{seed}}"
RUNS = [RUN.format(**vars(run)) for run in EXPERIMENT.runs()]


wildcard_constraints:
    arm="[a-z][a-z0-9_]*",
    n=r"\d+|\d+of\d+|0?\.\d+|[a-z][a-z0-9_]*",
    seed=r"\d+",


def own_files(paths):
    """Files that the user names, which keep their place under a module's prefix."""
    return [local(path) for path in paths]


def label_count(wildcards):
    """The label count of a run, as the config writes it: a count, or the name of a list."""
    planned = EXPERIMENT.counts
    return planned[wildcards.n] if wildcards.n in planned else parse_token(wildcards.n)


def label_list(wildcards):
    """The published list of a run, if its label count is a name."""
    return own_files(
        path for name, path in EXPERIMENT.label_lists.items() if name == wildcards.n
    )


def dataset_sources(wildcards):
    """Files in which the user describes the dataset."""
    return own_files(
        description_files(EXPERIMENT.dataset, EXPERIMENT.data_dir, EXPERIMENT.options)
    )


def dataset_outlines(wildcards):
    """The state of the files that labels are drawn from: labels follow their edits."""
    try:
        return outlines_state(
            EXPERIMENT.dataset, EXPERIMENT.data_dir, EXPERIMENT.options
        )
    except CsegError:  # the rule says what is wrong with them
        return ""


def settings_of(wildcards):
    """The settings of a run, as plain values."""
    return plain(EXPERIMENT.run_settings(wildcards.arm, int(wildcards.seed)))


def pretraining_of(wildcards):
    """The settings that shape a run's pretraining, as plain values."""
    return pretraining(EXPERIMENT.run_settings(wildcards.arm, int(wildcards.seed)))


def title(wildcards):
    """What a run is called in progress lines and job names."""
    return f"{EXPERIMENT.name}/{wildcards.arm}/n{wildcards.n}/seed{wildcards.seed}"


def file_of(run, name, arm=None):
    """A file of a run, or of the same run of another arm."""
    return f"{RESULTS}/{arm or run.arm}/n{run.n}/seed{run.seed}/{name}"


def subset_of(wildcards):
    """The labelled subset of a run, which runs of other seeds may share."""
    seed = EXPERIMENT.subset_seeds.get(int(wildcards.seed), wildcards.seed)
    return f"{RESULTS}/subsets/n{wildcards.n}_seed{seed}.csv"


def start_of(wildcards):
    """What is known of where an arm's encoder starts."""
    return f"{RESULTS}/starts/{EXPERIMENT.starts[wildcards.arm]}.json"


def start_settings(wildcards):
    """The network and where its encoder starts, as plain values."""
    arms = {start: arm for arm, start in EXPERIMENT.starts.items()}
    model, init = EXPERIMENT.model, EXPERIMENT.arms[arms[wildcards.start]].init
    return {"model": plain(model), "init": plain(init)}


def donor(wildcards):
    """The arm whose pretraining a run starts from, if it pretrains: its own or another."""
    if EXPERIMENT.scope(wildcards.arm) == "none":
        return None
    return EXPERIMENT.arms[wildcards.arm].pretrained_by or wildcards.arm


def pretrained(wildcards):
    """Weights that fine-tuning starts from: of a pretraining, or of the teacher."""
    if EXPERIMENT.continues(wildcards.arm):
        return teacher(wildcards)
    arm = donor(wildcards)
    return file_of(wildcards, "pretrain.pt", arm) if arm else []


def teacher(wildcards):
    """The fine-tuned network that labels for an arm with a teacher, of the same subset."""
    return file_of(wildcards, "finetune.pt", EXPERIMENT.arms[wildcards.arm].teacher)


def pseudo(name):
    """What lists or holds the pseudo labels, if the arm has a teacher."""
    return lambda run: file_of(run, name) if EXPERIMENT.arms[run.arm].teacher else []


def costs(wildcards):
    """Cost files of the stages of a run."""
    arm = donor(wildcards)
    pretraining = [file_of(wildcards, "pretrain_cost.json", arm)] if arm else []
    return [*pretraining, file_of(wildcards, "finetune_cost.json")]


def ablation_tables(wildcards):
    """The tables, if the config plans ablations."""
    if not EXPERIMENT.ablations:
        raise WorkflowError(
            "the config plans no ablations; add --configfile workflow/configs/ablations.yaml"
        )
    return rules.tables.output


def starts(wildcards):
    """Where the fine-tuning of every run starts: arm, settings, and whether at weights."""
    return [
        {
            "arm": run.arm,
            "settings": pretraining_of(run),
            "pretrained": bool(pretrained(run)),
        }
        for run in EXPERIMENT.runs()
    ]


def reported(folder, name, kind):
    """A table or figure as an entry of Snakemake's report."""
    category = {"tables": "2 Tables", "figures": "3 Figures"}[folder]
    caption = "per_class_table" if (folder, name) == ("tables", "per_class") else name
    return report(
        f"{RESULTS}/{folder}/{name}.{kind}",
        caption=f"../report/{caption}.rst",
        category=category,
        labels={folder.removesuffix("s"): name.replace("_", " ")},
    )
