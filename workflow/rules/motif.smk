for entry in PLAN.branch("motif"):

    rule:
        name:
            f"motif_{entry.name}"
        input:
            **entry.files,
            starts=entry.ends,
        output:
            fit=f"{entry.out}/fit.json",
            page=f"{entry.out}/report.html",
            files=[
                f"{entry.out}/motifs.meme",
                (
                    [f"{entry.out}/motifs.jaspar", f"{entry.out}/motifs.transfac"]
                    if "--alphabet protein" not in " ".join(entry.words)
                    else []
                ),
                f"{entry.out}/sites.gff3",
                figures(
                    entry,
                    logo="motif",
                    sites="sites",
                    positions="positions",
                    convergence="convergence",
                ),
                shown(entry, entry.product, "sites"),
                (
                    [shown(entry, f"{entry.out}/accuracy.tsv", "accuracy")]
                    if "truth" in entry.given
                    else []
                ),
                (
                    [
                        shown(entry, f"{entry.out}/matches.tsv", "known motifs alike"),
                        figures(entry, known="beside known motifs"),
                    ]
                    if "known" in entry.given
                    else []
                ),
                (
                    [
                        f"{entry.out}/motif.ihbcp",
                        shown(entry, f"{entry.out}/dependence.tsv", "neighbours"),
                        figures(entry, dependence="neighbours"),
                    ]
                    if "--motif-order 1" in " ".join(entry.words)
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
            mem_mb=memory(800, 400, light="prior"),
            runtime=minutes(20),
        params:
            out=subpath(output.fit, parent=True),
            seed=entry.seed,
            options=entry.words,
            version=VERSION,
        message:
            f"motif {entry.name}: motif in {{input.input}}"
        shell:
            "emtools motif {input.input:q} --out {params.out:q} --seed {params.seed} --threads {threads}"
            " {params.options:q} > {log:q} 2>&1 || [ $? -eq 3 -a -s {output.fit:q} ]"
