for entry in PLAN.branch("hmm"):

    rule:
        name:
            f"hmm_{entry.name}"
        input:
            **entry.files,
            starts=entry.ends,
        output:
            fit=f"{entry.out}/fit.json",
            page=f"{entry.out}/report.html",
            files=[
                f"{entry.out}/posteriors.tsv.gz",
                figures(
                    entry,
                    track="states along the sequence",
                    parameters="emissions and transitions",
                    convergence="convergence",
                ),
                shown(entry, entry.product, "segments"),
                shown(entry, f"{entry.out}/parameters.tsv", "parameters"),
                (
                    [
                        shown(entry, f"{entry.out}/log_odds.tsv", "log-odds"),
                        f"{entry.out}/log_odds.bedgraph.gz",
                    ]
                    if "against" in entry.given
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
            mem_mb=memory(800, 400),
            runtime=minutes(20),
        params:
            out=subpath(output.fit, parent=True),
            seed=entry.seed,
            options=entry.words,
            version=VERSION,
        message:
            f"hmm {entry.name}: hidden states of {{input.input}}"
        shell:
            "emtools hmm {input.input:q} --out {params.out:q} --seed {params.seed} --threads {threads}"
            " {params.options:q} > {log:q} 2>&1 || [ $? -eq 3 -a -s {output.fit:q} ]"
