# Starts of one fit in jobs of their own; the rule of the entry gathers them.
for entry in [entry for entry in PLAN.entries if entry.scatter]:

    rule:
        name:
            f"starts_{entry.branch}_{entry.name}"
        input:
            **entry.files,
        output:
            ends=f"{entry.start_folder}/{{some}}/starts.json",
        log:
            f"{PLAN.results}/logs/starts/{entry.branch}/{entry.name}/{{some}}.log",
        benchmark:
            f"{PLAN.results}/benchmarks/starts/{entry.branch}/{entry.name}/{{some}}.tsv"
        wildcard_constraints:
            some=r"\d+-\d+",
        conda:
            "../envs/emtools.yaml"
        threads: entry.threads
        resources:
            mem_mb=memory(800, 400, light="prior"),
            runtime=minutes(20),
        params:
            branch=entry.branch,
            out=subpath(output.ends, parent=True),
            seed=entry.seed,
            options=entry.start_words,
            version=VERSION,
        message:
            f"{entry.branch} {entry.name}: starts {{wildcards.some}} on {{input.input}}"
        shell:
            "emtools {params.branch:q} {input.input:q} --out {params.out:q} --seed {params.seed} --threads {threads}"
            " {params.options:q} --only-starts {wildcards.some:q} > {log:q} 2>&1"
