rule finetune:
    input:
        index=rules.index.output.index,
        start=start_of,
        dataset=rules.index.output.dataset,
        subset=subset_of,
        pixels=PIXELS,
        places=PLACES,
        pseudo=pseudo("pseudo_labels.csv"),
        pseudo_folder=pseudo("pseudo_labels"),
        pretrained=pretrained,
    output:
        weights=f"{RUN}/finetune.pt",
        curve=f"{RUN}/finetune.csv",
        cost=f"{RUN}/finetune_cost.json",
    log:
        f"{RUN}/logs/finetune.log",
    benchmark:
        f"{RUN}/benchmarks/finetune.tsv"
    conda:
        "../../envs/train.yaml"
    threads: GPU_THREADS
    resources:
        **NETWORK,
        runtime=1440,
    params:
        settings=settings_of,
        title=title,
    message:
        "{rule} {params.title}"
    script:
        "../scripts/finetune.py"
