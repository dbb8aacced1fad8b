rule fetch:
    output:
        fetched=f"{RESULTS}/fetch.json",
    log:
        f"{RESULTS}/logs/fetch.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=0,
    params:
        dataset=DATASET,
        data_dir=config["data_dir"],
        options=config["dataset_options"].get(DATASET, {}),
    script:
        "../scripts/fetch.py"


rule index:
    input:
        fetched=rules.fetch.output.fetched,
    output:
        index=f"{RESULTS}/index.csv",
        dataset=f"{RESULTS}/dataset.json",
    log:
        f"{RESULTS}/logs/index.log",
    benchmark:
        f"{RESULTS}/benchmarks/index.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    script:
        "../scripts/index.py"
