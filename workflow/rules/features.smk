# One job for the whole experiment: a process of its own for each run would take longer to import.
rule features:
    input:
        index=rules.index.output.index,
        dataset=rules.index.output.dataset,
        subsets=list(map(subset_of, EXPERIMENT.runs())),
        pretrained=list(filter(None, map(pretrained, EXPERIMENT.runs()))),
    output:
        features=f"{RESULTS}/features.csv",
        separability=f"{RESULTS}/separability.csv",
    log:
        f"{RESULTS}/logs/features.log",
    benchmark:
        f"{RESULTS}/benchmarks/features.tsv"
    conda:
        "../../envs/train.yaml"
    threads: GPU_THREADS
    resources:
        **NETWORK,
        runtime=120,
    params:
        starts=starts,
    message:
        "{rule}"
    script:
        "../scripts/features.py"
