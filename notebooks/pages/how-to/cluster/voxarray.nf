// Scans to a cohort of archives with Nextflow, in parts:
//   nextflow run voxarray.nf --source /data/scans --destination /data/cohort --parts 16
// Paths are absolute: each task has a folder of its own. All of them write into one cohort.
nextflow.enable.dsl = 2

params.parts = 16

process PLAN {
    output: val true
    script:
    """
    voxarray plan '${params.source}' '${params.destination}'
    """
}

process PART {
    cpus 2
    memory { 2.GB * task.attempt }
    maxRetries 2
    errorStrategy { task.exitStatus in [75, 137, 140, 143] ? 'retry' : 'finish' }

    input:
    tuple val(part), val(planned)
    output: val part
    script:
    // 3: some scans cannot be converted, and the report names them; the rest is good.
    """
    voxarray convert '${params.source}' '${params.destination}' --partition ${part}/${params.parts} || { code=\$?; [ \$code -eq 3 ] || exit \$code; }
    """
}

process CATALOGUE {
    input: val done
    script:
    """
    voxarray finalise '${params.destination}' || [ \$? -eq 3 ]
    """
}

workflow {
    parts = Channel.of(1..params.parts)
    PART(parts.combine(PLAN()))
    CATALOGUE(PART.out.collect())
}
