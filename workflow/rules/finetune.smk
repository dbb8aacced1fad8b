rule finetune:
    input:
        index=rules.index.output.index,
        dataset=rules.index.output.dataset,
        subset=rules.subset.output.subset,
        cache=CACHE,
        pseudo=pseudo_labels,
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
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
        gpu=0,
    params:
        settings=arm_settings,
        title=title,
    script:
        "../scripts/finetune.py"
