rule pretrain:
    input:
        index=rules.index.output.index,
        dataset=rules.index.output.dataset,
        subset=rules.subset.output.subset,
        cache=CACHE,
        pseudo=pseudo_labels,
    output:
        weights=f"{RUN}/pretrain.pt",
        curve=f"{RUN}/pretrain.csv",
        cost=f"{RUN}/pretrain_cost.json",
    log:
        f"{RUN}/logs/pretrain.log",
    benchmark:
        f"{RUN}/benchmarks/pretrain.tsv"
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
        "../scripts/pretrain.py"
