for entry in [
    entry for entry in PLAN.branch("segment") if not (entry.tabular or entry.images)
]:

    rule:
        name:
            f"segment_{entry.name}"
        input:
            **entry.files,
        output:
            fit=f"{entry.out}/fit.json",
            page=f"{entry.out}/report.html",
            files=[
                entry.product,
                f"{entry.out}/labels.ome.tif",
                f"{entry.out}/posteriors.ome.tif",
                f"{entry.out}/instances.ome.tif",
                figures(
                    entry,
                    overlay="objects on the image",
                    posterior="posterior maps",
                    boundary="boundaries: K-means and mixture",
                    convergence="convergence",
                    **(
                        {}
                        if "mixture" in entry.words
                        else {"levels": "scale and illumination"}
                    ),
                    **(
                        {
                            "accuracy": "found and true objects",
                            "reliability": "whether probabilities come true",
                        }
                        if "truth" in entry.given
                        else {}
                    ),
                ),
                shown(entry, f"{entry.out}/objects.csv", "objects"),
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
            mem_mb=memory(1500, 200),
            runtime=minutes(10),
        params:
            out=subpath(output.fit, parent=True),
            seed=entry.seed,
            options=entry.words,
            version=VERSION,
        message:
            f"segment {entry.name}: classes and objects in {{input.input}}"
        shell:
            "emtools segment {input.input:q} --out {params.out:q} --seed {params.seed} --threads {threads}"
            " {params.options:q} > {log:q} 2>&1 || [ $? -eq 3 -a -s {output.fit:q} ]"


for entry in [entry for entry in PLAN.branch("segment") if entry.images]:

    rule:
        name:
            f"segment_{entry.name}"
        input:
            entry.images,
        output:
            fit=f"{entry.out}/fit.json",
            page=f"{entry.out}/report.html",
            files=[
                entry.product,
                f"{entry.out}/objects.csv",
                figures(
                    entry,
                    convergence="convergence",
                    **(
                        {
                            "overlay": "objects on the images",
                            "shares": "share of each class in each image",
                        }
                        if entry.images != [entry.files["input"]]
                        else {"sheet": "objects on the image"}
                    ),
                ),
                shown(entry, f"{entry.out}/images.tsv", "images"),
            ],
        log:
            record(entry, "logs", "log"),
        benchmark:
            record(entry, "benchmarks", "tsv")
        conda:
            "../envs/emtools.yaml"
        threads: entry.threads
        resources:
            mem_mb=memory(2000, 20),
            runtime=minutes(30),
        params:
            folder=entry.files["input"],
            out=subpath(output.fit, parent=True),
            seed=entry.seed,
            options=entry.words,
            version=VERSION,
        message:
            f"segment {entry.name}: classes and objects in the images of {{params.folder}}"
        shell:
            "emtools segment {params.folder:q} --out {params.out:q} --seed {params.seed} --threads {threads}"
            " {params.options:q} > {log:q} 2>&1 || [ $? -eq 3 -a -s {output.fit:q} ]"


for entry in [entry for entry in PLAN.branch("segment") if entry.tabular]:

    rule:
        name:
            f"segment_{entry.name}"
        input:
            input=entry.files["input"],
        output:
            fit=f"{entry.out}/fit.json",
            page=f"{entry.out}/report.html",
            files=[
                [entry.product] if entry.product.endswith(".h5ad") else [],
                f"{entry.out}/boundaries.json",
                figures(
                    entry,
                    boundary="boundaries: K-means and mixtures",
                    convergence="convergence",
                    **(
                        {"accuracy": "agreement with the known classes"}
                        if "truth" in entry.given
                        else {}
                    ),
                ),
                shown(entry, f"{entry.out}/classes.csv", "classes"),
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
            mem_mb=memory(1200, 60),
            runtime=minutes(10),
        params:
            out=subpath(output.fit, parent=True),
            seed=entry.seed,
            options=entry.words,
            version=VERSION,
        message:
            f"segment {entry.name}: classes of the rows of {{input.input}}"
        shell:
            "emtools segment {input.input:q} --out {params.out:q} --seed {params.seed} --threads {threads}"
            " {params.options:q} > {log:q} 2>&1 || [ $? -eq 3 -a -s {output.fit:q} ]"
