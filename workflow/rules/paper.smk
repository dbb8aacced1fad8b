TABLES = ["recommendation", "main", "per_class", "cost", "separability", "published"]
FIGURES = [
    "label_efficiency",
    "qualitative",
    "per_class",
    "confusion",
    "training_curves",
    "feature_space",
]
ABLATIONS = ["ablations"] if EXPERIMENT.ablations else []
TAUGHT = [arm for arm in EXPERIMENT.run_arms if EXPERIMENT.arms[arm].teacher]
TABLES += ABLATIONS + (["semi_supervised"] if TAUGHT else [])
if len(EXPERIMENT.run_arms) > 1:  # what needs two arms
    TABLES += ["label_saving"]
    FIGURES += ["confusion_difference", "largest_changes"]


# What is planned, for tables, page and `cseg status`.
rule manifest:
    output:
        plan=f"{RESULTS}/experiment.json",
    log:
        f"{RESULTS}/logs/manifest.log",
    priority: 2  # first, so that `cseg status` can answer
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        **LIGHT,
    params:
        plan=EXPERIMENT.manifest(),
    message:
        "{rule}"
    script:
        "../scripts/manifest.py"


rule summary:
    input:
        metrics=expand("{run}/metrics.csv", run=RUNS),
    output:
        summary=f"{RESULTS}/summary.csv",
        per_class=f"{RESULTS}/per_class.csv",
        per_image=f"{RESULTS}/per_image.csv",
        confusion=f"{RESULTS}/confusion.csv",
        curves=f"{RESULTS}/curves.csv",
        cost=f"{RESULTS}/cost.csv",
        plan=[f"{RESULTS}/{name}.csv" for name in ABLATIONS],
        pseudo=[f"{RESULTS}/pseudo.csv"] if TAUGHT else [],
    log:
        f"{RESULTS}/logs/summary.log",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        **LIGHT,
    params:
        ablations=plain(EXPERIMENT.ablations),
    message:
        "{rule}"
    script:
        "../scripts/summary.py"


rule tables:
    input:
        plan=rules.manifest.output.plan,
        summary=rules.summary.output,
        dataset=rules.index.output.dataset,
        separability=rules.features.output.separability,
        published=workflow.source_path("../resources/published.csv"),
    output:
        *[reported("tables", name, "html") for name in TABLES],
        expand(
            "{results}/tables/{table}.{kind}",
            results=RESULTS,
            table=TABLES,
            kind=["csv", "md", "tex"],
        ),
    log:
        f"{RESULTS}/logs/tables.log",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        **LIGHT,
    message:
        "{rule}"
    script:
        "../scripts/tables.py"


rule figures:
    input:
        plan=rules.manifest.output.plan,
        summary=rules.summary.output,
        dataset=rules.index.output.dataset,
        index=rules.index.output.index,
        best=rules.best.output,
        features=rules.features.output,
        predictions=expand("{run}/predictions.zip", run=RUNS),
    output:
        report(
            f"{RESULTS}/summary.html",
            caption="../report/summary.rst",
            category="1 Summary",
            labels={"page": "summary"},
        ),
        *[reported("figures", name, "png") for name in FIGURES],
        expand("{results}/figures/{figure}.pdf", results=RESULTS, figure=FIGURES),
    log:
        f"{RESULTS}/logs/figures.log",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        **LIGHT,
    message:
        "{rule}"
    script:
        "../scripts/figures.py"
