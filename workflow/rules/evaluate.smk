rule evaluate:
    input:
        index=rules.index.output.index,
        dataset=rules.index.output.dataset,
        subset=subset_of,
        weights=rules.finetune.output.weights,
        costs=costs,
    output:
        metrics=f"{RUN}/metrics.csv",
        per_class=f"{RUN}/per_class.csv",
        per_image=f"{RUN}/per_image.csv",
        confusion=f"{RUN}/confusion.csv",
        predictions=f"{RUN}/predictions.zip",
    log:
        f"{RUN}/logs/evaluate.log",
    benchmark:
        f"{RUN}/benchmarks/evaluate.tsv"
    conda:
        "../../envs/train.yaml"
    threads: GPU_THREADS
    resources:
        **NETWORK,
        runtime=120,
    params:
        settings=settings_of,
        title=title,
    message:
        "{rule} {params.title}"
    script:
        "../scripts/evaluate.py"
