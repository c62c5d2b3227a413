for entry in PLAN.branch("impute"):

    rule:
        name:
            f"impute_{entry.name}"
        input:
            **entry.files,
        output:
            fit=f"{entry.out}/fit.json",
            page=f"{entry.out}/report.html",
            files=[
                f"{entry.out}/conditional_sd.tsv",
                f"{entry.out}/dictionary.tsv",
                f"{entry.out}/imputed.tsv",
                f"{entry.out}/model.npz",
                entry.drawn,
                figures(
                    entry,
                    missingness="what is missing",
                    imputed="observed and imputed values",
                    overimputed="observed values predicted",
                    correlations="correlations",
                    information="missing information",
                    shrinkage="spread: filling with means, and ours",
                    convergence="convergence",
                    **(
                        {"accuracy": "imputed and true values"}
                        if "truth" in entry.given
                        else {}
                    ),
                ),
                shown(entry, entry.product, "completed table"),
                shown(entry, f"{entry.out}/imputed_cells.tsv", "imputed cells"),
                shown(entry, f"{entry.out}/parameters.tsv", "parameters"),
                shown(entry, f"{entry.out}/diagnostics.tsv", "diagnostics"),
                shown(entry, f"{entry.out}/patterns.tsv", "patterns of missingness"),
                (
                    [shown(entry, f"{entry.out}/accuracy.tsv", "accuracy")]
                    if "truth" in entry.given
                    else []
                ),
            ],
        log:
            record(entry, "logs", "log"),
        benchmark:
            record(entry, "benchmarks", "tsv")
        conda:
            "../envs/emtools.yaml"
        threads: entry.threads
        resources:
            mem_mb=memory(800, 20),
            runtime=minutes(10),
        params:
            out=subpath(output.fit, parent=True),
            seed=entry.seed,
            options=entry.words,
            version=VERSION,
        message:
            f"impute {entry.name}: fill missing values of {{input.input}}"
        shell:
            "emtools impute {input.input:q} --out {params.out:q} --seed {params.seed} --threads {threads}"
            " {params.options:q} > {log:q} 2>&1 || [ $? -eq 3 -a -s {output.fit:q} ]"
