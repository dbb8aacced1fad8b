rule best:
    input:
        dataset=rules.index.output.dataset,
        metrics=expand("{run}/metrics.csv", run=RUNS),
        classes=expand("{run}/per_class.csv", run=RUNS),
        weights=expand("{run}/finetune.pt", run=RUNS),
    output:
        expand(
            "{results}/best/n{n}.{kind}",
            results=RESULTS,
            n=list(EXPERIMENT.counts),
            kind=["pt", "json"],
        ),
    log:
        f"{RESULTS}/logs/best.log",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        **LIGHT,
    message:
        "{rule}"
    script:
        "../scripts/best.py"
