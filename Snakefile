include: "workflow/Snakefile"


# An included `rule all` is not the default target of the including file.
rule everything:
    default_target: True
    input:
        rules.all.input,
    localrule: True
    message:
        "all results are there"
