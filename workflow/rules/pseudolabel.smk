# Only arms with a teacher have it.
rule pseudolabel:
    input:
        index=rules.index.output.index,
        dataset=rules.index.output.dataset,
        subset=subset_of,
        teacher=teacher,
    output:
        labels=directory(f"{RUN}/pseudo_labels"),
        listing=f"{RUN}/pseudo_labels.csv",
        quality=f"{RUN}/pseudo.csv",
    log:
        f"{RUN}/logs/pseudolabel.log",
    benchmark:
        f"{RUN}/benchmarks/pseudolabel.tsv"
    conda:
        "../../envs/train.yaml"
    threads: GPU_THREADS
    resources:
        **NETWORK,
        runtime=240,
    params:
        settings=settings_of,
        title=title,
    message:
        "{rule} {params.title}"
    script:
        "../scripts/pseudolabel.py"
