"""Results that tell of the run itself, its times and its places, and so differ from one run to the next."""

ABOUT_THE_RUN = (
    "logs",
    "benchmarks",
    "index.html",  # CPU seconds and memory of each job
    "runs.tsv",
    "multiqc/",
    "manifest.json",
    "ro-crate-metadata.json",
)
