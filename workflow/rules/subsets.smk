localrules:
    subset,


rule subset:
    input:
        index=rules.index.output.index,
        dataset=rules.index.output.dataset,
    output:
        subset=f"{RESULTS}/subsets/n{{n}}_seed{{seed}}.csv",
    log:
        f"{RESULTS}/logs/subset/n{{n}}_seed{{seed}}.log",
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        n=label_count,
    script:
        "../scripts/subset.py"
