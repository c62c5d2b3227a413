ENDS = [
    path for entry in PLAN.entries for path in entry.ends
]  # whose costs are told; they are not made for it


rule summary:
    input:
        fits=[f"{entry.out}/fit.json" for entry in PLAN.entries],
    output:
        report(
            f"{PLAN.results}/runs.tsv",
            caption="../report/runs.rst",
            category="Run",
            labels={"data": "all", "result": "table of all fits"},
        ),
        index=f"{PLAN.results}/index.html",
        fits=f"{PLAN.results}/multiqc/emtools_fits_mqc.json",
        traces=f"{PLAN.results}/multiqc/emtools_traces_mqc.json",
    log:
        f"{PLAN.results}/logs/summary.log",
    benchmark:
        f"{PLAN.results}/benchmarks/summary.tsv"
    conda:
        "../envs/emtools.yaml"
    threads: 1
    resources:
        mem_mb=600,
        runtime=minutes(5),
    params:
        out=subpath(output.index, parent=True),
        starts=["--starts", *ENDS] * bool(ENDS),
        version=VERSION,
    message:
        "page of the run: {output.index}"
    shell:
        "emtools summary {input.fits:q} --out {params.out:q} --multiqc multiqc/multiqc_report.html"
        " --snakemake snakemake_report.html {params.starts:q} > {log:q} 2>&1"


rule manifest:
    input:
        rules.summary.output,
        f"{PLAN.results}/multiqc/multiqc_report.html",
        config=[*workflow.configfiles, *config.get("samples", {}).values()],
    output:
        manifest=f"{PLAN.results}/manifest.json",
        crate=f"{PLAN.results}/ro-crate-metadata.json",
    log:
        f"{PLAN.results}/logs/manifest.log",
    benchmark:
        f"{PLAN.results}/benchmarks/manifest.tsv"
    conda:
        "../envs/emtools.yaml"
    threads: 1
    resources:
        mem_mb=600,
        runtime=minutes(10),
    params:
        out=subpath(output.manifest, parent=True),
        fits=rules.summary.input.fits,
        version=VERSION,
    message:
        "inputs, hashes, commands and versions: {output.manifest}"
    shell:
        "emtools manifest {params.fits:q} --config {input.config:q} --out {params.out:q} > {log:q} 2>&1"


rule multiqc:
    input:
        rules.summary.output.fits,
        rules.summary.output.traces,
        config=workflow.source_path("../report/multiqc.yaml"),
        style=workflow.source_path("../report/multiqc.css"),
    output:
        page=f"{PLAN.results}/multiqc/multiqc_report.html",
    log:
        f"{PLAN.results}/logs/multiqc.log",
    benchmark:
        f"{PLAN.results}/benchmarks/multiqc.tsv"
    conda:
        "../envs/emtools.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=minutes(5),
    params:
        out=subpath(output.page, parent=True),
        version=VERSION,
    message:
        "MultiQC: {output.page}"
    shell:
        "multiqc {params.out:q} --outdir {params.out:q} --filename multiqc_report.html --config {input.config:q}"
        " --custom-css-file {input.style:q} --no-ai --no-data-dir --force > {log:q} 2>&1"
