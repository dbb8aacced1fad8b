# What a stage of training could not load ends the workflow here; weights are downloaded by the
# machine that Snakemake runs on. Snakemake's `ancient` would hide changes of the trainings behind it,
# so each start has a file of its own.
rule start:
    output:
        start=f"{RESULTS}/starts/{{start}}.json",
    log:
        f"{RESULTS}/logs/start/{{start}}.log",
    priority: 10
    localrule: True
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        **LIGHT | {"mem_mb": 4000, "runtime": 60},
    params:
        start=start_settings,
    message:
        "{rule} {wildcards.start}"
    script:
        "../scripts/start.py"
