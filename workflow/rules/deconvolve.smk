def of_cells(entry):
    """Figures and tables of cell types."""
    known = {"confusion": "found and known types"} if "truth" in entry.given else {}
    samples = (
        {"composition": "composition by sample"} if "sample" in entry.given else {}
    )
    chosen = {"selection": "number of types"} if entry.chooses else {}
    return [
        figures(
            entry,
            types="types found",
            profiles="expression of the types",
            proportions="proportions",
            reliability="reliability",
            convergence="convergence",
            **known,
            **samples,
            **chosen,
        ),
        shown(entry, f"{entry.out}/proportions.tsv", "proportions"),
        shown(entry, f"{entry.out}/profiles.tsv", "profiles"),
        [f"{entry.out}/proportions_by_sample.tsv"] if samples else [],
        [shown(entry, f"{entry.out}/accuracy.tsv", "accuracy")] if known else [],
    ]


def of_mixtures(entry):
    """Figures and tables of mixtures of known types."""
    return [
        figures(
            entry,
            composition="composition of the samples",
            reference="reference",
            explained="fit of each sample",
            factors="platform factors",
            convergence="convergence",
        ),
        shown(entry, f"{entry.out}/fractions.csv", "fractions"),
    ]


for entry in PLAN.branch("deconvolve"):

    rule:
        name:
            f"deconvolve_{entry.name}"
        input:
            **entry.files,
        output:
            fit=f"{entry.out}/fit.json",
            page=f"{entry.out}/report.html",
            files=[
                entry.product,
                of_mixtures(entry) if "reference" in entry.given else of_cells(entry),
            ],
        log:
            record(entry, "logs", "log"),
        benchmark:
            record(entry, "benchmarks", "tsv")
        conda:
            "../envs/emtools.yaml"
        threads: entry.threads
        resources:
            mem_mb=memory(1200, 30),
            runtime=minutes(10),
        params:
            out=subpath(output.fit, parent=True),
            seed=entry.seed,
            options=entry.words,
            version=VERSION,
        message:
            f"deconvolve {entry.name}: "
            f"{'mixtures' if 'reference' in entry.given else 'cell types'} in {{input.input}}"
        shell:
            "emtools deconvolve {input.input:q} --out {params.out:q} --seed {params.seed} --threads {threads}"
            " {params.options:q} > {log:q} 2>&1 || [ $? -eq 3 -a -s {output.fit:q} ]"
