rule subset:
    input:
        index=rules.index.output.index,
        dataset=rules.index.output.dataset,
        published=label_list,
    output:
        subset=f"{RESULTS}/subsets/n{{n}}_seed{{seed}}.csv",
    log:
        f"{RESULTS}/logs/subset/n{{n}}_seed{{seed}}.log",
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        **LIGHT,
    params:
        n=label_count,
    message:
        "{rule} {wildcards.seed} of n{wildcards.n}"
    script:
        "../scripts/subset.py"


# Our subsets of every count and seed, beside the lists that the config names.
rule audit:
    input:
        index=rules.index.output.index,
        subsets=expand(
            rules.subset.output.subset,
            n=list(EXPERIMENT.counts),
            seed=sorted(set(EXPERIMENT.subset_seeds.values())),
        ),
        lists=own_files(EXPERIMENT.audit_lists),
    output:
        table=f"{RESULTS}/audit.csv",
        findings=report(
            f"{RESULTS}/audit.txt",
            caption="../report/audit.rst",
            category="4 Label lists",
            labels={"audit": "findings"},
        ),
        png=report(
            f"{RESULTS}/figures/audit.png",
            caption="../report/audit.rst",
            category="4 Label lists",
            labels={"audit": "figure"},
        ),
        pdf=f"{RESULTS}/figures/audit.pdf",
    log:
        f"{RESULTS}/logs/audit.log",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        **LIGHT,
    message:
        "{rule}"
    script:
        "../scripts/audit.py"
