rule pretrain:
    input:
        index=rules.index.output.index,
        start=start_of,
        dataset=rules.index.output.dataset,
        subset=subset_of,
        pixels=PIXELS,
        places=PLACES,
        pseudo=pseudo("pseudo_labels.csv"),
        pseudo_folder=pseudo("pseudo_labels"),
    output:
        weights=f"{RUN}/pretrain.pt",
        curve=f"{RUN}/pretrain.csv",
        cost=f"{RUN}/pretrain_cost.json",
    log:
        f"{RUN}/logs/pretrain.log",
    benchmark:
        f"{RUN}/benchmarks/pretrain.tsv"
    priority: 1  # what takes longest begins first
    conda:
        "../../envs/train.yaml"
    threads: GPU_THREADS
    resources:
        **NETWORK,
        runtime=1440,
    params:
        settings=pretraining_of,
        title=title,
    message:
        "{rule} {params.title}"
    script:
        "../scripts/pretrain.py"
