rule demo:
    output:
        f"{PLAN.results}/inputs/{{demo}}.{{suffix}}",
    log:
        f"{PLAN.results}/logs/demo/{{demo}}.{{suffix}}.log",
    benchmark:
        f"{PLAN.results}/benchmarks/demo/{{demo}}.{{suffix}}.tsv"
    conda:
        "../envs/emtools.yaml"
    threads: 1
    resources:
        mem_mb=600,
        runtime=minutes(5),
    params:
        version=VERSION,
    message:
        "demo data: {output}"
    shell:
        "emtools demo {wildcards.demo:q} --out {output:q} > {log:q} 2>&1"
