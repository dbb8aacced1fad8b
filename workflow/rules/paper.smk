TABLES = ["recommendation", "main", "per_class", "cost", "separability", "published"]
# what needs two arms
COMPARED_TABLES = ["label_saving"] if len(config["run_arms"]) > 1 else []
COMPARED_FIGURES = (
    ["confusion_difference", "largest_changes"] if len(config["run_arms"]) > 1 else []
)
FIGURES = [
    "label_efficiency",
    "qualitative",
    "per_class",
    "confusion",
    "training_curves",
    "feature_space",
    "dag",
]
ABLATIONS = ["ablations"] if config["ablations"] else []
TEACHERS = [arm for arm in config["run_arms"] if "teacher" in config["arms"][arm]]
SEMI_SUPERVISED = ["semi_supervised"] if TEACHERS else []


localrules:
    summary,
    tables,
    figures,


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
        pseudo=[f"{RESULTS}/pseudo.csv"] if TEACHERS else [],
    log:
        f"{RESULTS}/logs/summary.log",
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        ablations=config["ablations"],
    script:
        "../scripts/summary.py"


rule tables:
    input:
        summary=rules.summary.output,
        dataset=rules.index.output.dataset,
        separability=rules.features.output.separability,
        published=workflow.source_path("../resources/published.csv"),
    output:
        report(
            f"{RESULTS}/tables/recommendation.html",
            caption="../report/recommendation.rst",
            category="2 Tables",
            labels={"table": "recommendation"},
        ),
        report(
            f"{RESULTS}/tables/main.html",
            caption="../report/main.rst",
            category="2 Tables",
            labels={"table": "main"},
        ),
        report(
            [f"{RESULTS}/tables/{name}.html" for name in COMPARED_TABLES],
            caption="../report/label_saving.rst",
            category="2 Tables",
            labels={"table": "label saving"},
        ),
        report(
            f"{RESULTS}/tables/per_class.html",
            caption="../report/per_class_table.rst",
            category="2 Tables",
            labels={"table": "per class"},
        ),
        report(
            f"{RESULTS}/tables/cost.html",
            caption="../report/cost.rst",
            category="2 Tables",
            labels={"table": "cost"},
        ),
        report(
            f"{RESULTS}/tables/separability.html",
            caption="../report/separability.rst",
            category="2 Tables",
            labels={"table": "separability"},
        ),
        report(
            [f"{RESULTS}/tables/{name}.html" for name in ABLATIONS],
            caption="../report/ablations.rst",
            category="2 Tables",
            labels={"table": "ablations"},
        ),
        report(
            [f"{RESULTS}/tables/{name}.html" for name in SEMI_SUPERVISED],
            caption="../report/semi_supervised.rst",
            category="2 Tables",
            labels={"table": "semi-supervised"},
        ),
        report(
            f"{RESULTS}/tables/published.html",
            caption="../report/published.rst",
            category="2 Tables",
            labels={"table": "published values"},
        ),
        expand(
            "{results}/tables/{table}.{kind}",
            results=RESULTS,
            table=TABLES + COMPARED_TABLES + ABLATIONS + SEMI_SUPERVISED,
            kind=["csv", "md", "tex"],
        ),
    log:
        f"{RESULTS}/logs/tables.log",
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    script:
        "../scripts/tables.py"


rule figures:
    input:
        summary=rules.summary.output,
        dataset=rules.index.output.dataset,
        index=rules.index.output.index,
        best=rules.best.output,
        features=rules.features.output,
        predictions=expand("{run}/predictions.zip", run=RUNS),
        dag=workflow.source_path("../resources/dag.csv"),
    output:
        report(
            f"{RESULTS}/summary.html",
            caption="../report/summary.rst",
            category="1 Summary",
            labels={"page": "summary"},
        ),
        report(
            f"{RESULTS}/figures/label_efficiency.png",
            caption="../report/label_efficiency.rst",
            category="3 Figures",
            labels={"figure": "label efficiency"},
        ),
        report(
            f"{RESULTS}/figures/qualitative.png",
            caption="../report/qualitative.rst",
            category="3 Figures",
            labels={"figure": "qualitative panel"},
        ),
        report(
            f"{RESULTS}/figures/per_class.png",
            caption="../report/per_class.rst",
            category="3 Figures",
            labels={"figure": "IoU per class"},
        ),
        report(
            f"{RESULTS}/figures/confusion.png",
            caption="../report/confusion.rst",
            category="3 Figures",
            labels={"figure": "confusion matrices"},
        ),
        report(
            f"{RESULTS}/figures/training_curves.png",
            caption="../report/training_curves.rst",
            category="3 Figures",
            labels={"figure": "training curves"},
        ),
        *[
            report(
                f"{RESULTS}/figures/{name}.png",
                caption=f"../report/{name}.rst",
                category="3 Figures",
                labels={"figure": name.replace("_", " ")},
            )
            for name in COMPARED_FIGURES
        ],
        report(
            f"{RESULTS}/figures/feature_space.png",
            caption="../report/feature_space.rst",
            category="3 Figures",
            labels={"figure": "feature space"},
        ),
        report(
            f"{RESULTS}/figures/dag.png",
            caption="../report/dag.rst",
            category="3 Figures",
            labels={"figure": "rules"},
        ),
        expand(
            "{results}/figures/{figure}.pdf",
            results=RESULTS,
            figure=FIGURES + COMPARED_FIGURES,
        ),
    log:
        f"{RESULTS}/logs/figures.log",
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    script:
        "../scripts/figures.py"
