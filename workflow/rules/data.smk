rule fetch:
    input:
        sources=dataset_sources,
    output:
        fetched=f"{RESULTS}/fetch.json",
    log:
        f"{RESULTS}/logs/fetch.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch.tsv"
    conda:
        (
            "../../envs/cityscapes.yaml"
            if EXPERIMENT.dataset == "cityscapes"
            else "../../envs/data.yaml"
        )
    threads: 1
    resources:
        **LIGHT | {"runtime": 240},
    params:
        dataset=EXPERIMENT.dataset,
        data_dir=EXPERIMENT.data_dir,
        options=EXPERIMENT.options,
        outlines=dataset_outlines,
    message:
        "{rule}"
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
        **LIGHT | {"runtime": 60},
    message:
        "{rule}"
    script:
        "../scripts/index.py"


# Optional (prepared_cache): its size is told in the log before it is written.
rule prepare:
    input:
        index=rules.index.output.index,
        dataset=rules.index.output.dataset,
    output:
        pixels=f"{RESULTS}/cache/pixels.bin",
        places=f"{RESULTS}/cache/places.csv",
    log:
        f"{RESULTS}/logs/prepare.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 2
    resources:
        **LIGHT | {"runtime": 60},
    params:
        short_side=EXPERIMENT.image.short_side,
    message:
        "{rule}"
    script:
        "../scripts/prepare.py"


PIXELS = rules.prepare.output.pixels if EXPERIMENT.prepared_cache else []
PLACES = rules.prepare.output.places if EXPERIMENT.prepared_cache else []
