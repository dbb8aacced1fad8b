localrules:
    check,


# Training waits for it, and is not repeated when arms are added. Weights are downloaded here, on the
# machine that Snakemake runs on.
rule check:
    input:
        index=rules.index.output.index,
    output:
        starts=f"{RESULTS}/starts.json",
    log:
        f"{RESULTS}/logs/check.log",
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        runs={
            arm: plain(EXPERIMENT.run_settings(arm, 0))
            for arm in (*EXPERIMENT.run_arms, *EXPERIMENT.helpers)
        },
        counts=[
            n for n in EXPERIMENT.counts.values() if n not in EXPERIMENT.label_lists
        ],
    script:
        "../scripts/check.py"
