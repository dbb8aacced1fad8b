from snakemake.utils import min_version

min_version("9.8")


configfile: f"{workflow.current_basedir}/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/subsets.smk"
include: "workflow/rules/start.smk"
include: "workflow/rules/pseudolabel.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/best.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input:
        rules.summary.output,
        rules.tables.output,
        rules.figures.output,
        rules.best.output,
    localrule: True
    message:
        f"all: {RESULTS}/summary.html"


rule paper_tables:
    input:
        rules.tables.output,
        rules.figures.output,
    localrule: True
    message:
        f"{RESULTS}/tables and {RESULTS}/figures"


# Run it with --configfile workflow/configs/ablations.yaml.
rule ablations:
    input:
        ablation_tables,
    localrule: True
    message:
        f"{RESULTS}/tables"


# The same DAG; run it with --configfile workflow/configs/smoke.yaml.
rule smoke:
    input:
        rules.all.input,
    localrule: True
    message:
        f"{RESULTS}/summary.html"
