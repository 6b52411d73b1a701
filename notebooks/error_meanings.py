"""What codes mean whose messages alone do not tell it."""

from __future__ import annotations

PUT_TOGETHER = {
    "BAD_LABELS": "The name or colour of a label is invalid. Names are texts; colours are (r, g, "
    "b) from 0 to 255, or #rrggbb.",
    "CONTRADICTION": "An archive stores a fact twice, and the copies differ; the message names "
    "them. Restore the archive, or make it again as for BAD_CHECKSUM.",
    "EXTRA_FILE": "An archive holds a file that is not in its list of files (manifest.json). Move "
    "the file elsewhere.",
    "LEFTOVER": "An interrupted writer left this object in a bucket, where nothing reads it. "
    "Remove it with voxarray clean. LEFT_OVER is about files of an export.",
    "NO_THREADS": "The system starts no more threads for this process. Check the limits of "
    "memory and processes (`ulimit -v`, `ulimit -u`), or use fewer workers.",
    "UNEXPECTED": "An error that voxarray did not foresee; the message names it and its place. "
    "If the place is in your own code (a function, a transform or a reader), correct it there. "
    "Otherwise report it.",
}
"""Meanings of codes whose message is not in one place of the source."""

EXPLAINED = {
    "AFFINE_MISMATCH": "The copies of the affine in an archive differ, or differ from its source. "
    "Restore the archive, or make it again as for BAD_CHECKSUM.",
    "INTERRUPTED": "A change of an archive was interrupted, or is still going on; the message "
    "begins with what was being changed.",
    "LABELS_ABSENT": "Archives would be made again without label maps that they hold, since no "
    "file of these label maps was found.",
    "LABELS_ALONE": "Label maps belong to a subject that has no image. Change the pattern of the "
    "images or that of the label maps, so that both give the same name of the subject.",
    "LEFT_OVER": "A folder of exported files holds files of an earlier export. LEFTOVER is about "
    "objects in a bucket.",
    "NAME_COLLISION": "A subject has two images, or an image and a label map, of one name, so a "
    "cohort cannot open it; or two images would be written to one file.",
    "NO_MAIN_GUARD": "Each worker process runs the script from its start. Put what the script does "
    'into a function, and call it under `if __name__ == "__main__":`.',
    "NOTHING_FOUND": "The sources hold no image that fits the patterns or the query, or the folder "
    "holds no archive. If no file matches the patterns, the message names the patterns, and a file "
    "that does not match.",
    "OUTDATED": "An archive was made from other source data or with other options than planned. "
    "Convert again. If label maps or notes were added to it, the message says how to keep them.",
    "PATTERNS_CHANGED": "A cohort is converted again with other patterns or columns. The "
    "message names those that were left out, and those that are new. Images that only the earlier "
    "ones find stay in the cohort as they are.",
    "PIPELINE_REPLACED": "Archives in the folder that another pipeline had made were replaced; the "
    "message begins with their number.",
    "SAME_LABELS": "Prediction and reference are the same label map; the message begins with its "
    "path. For two cohorts, it says for how many subjects this is the case.",
    "SEVERAL_SERIES": "A TIFF file holds several images. Split it. If the images are planes of one "
    "stack, write them as one image; the message says how.",
    "SOME_FAILED": "Some images or subjects failed; the others are done. The message says why each "
    "of the first few failed. Correct the causes, and run the same command again.",
    "UNKNOWN_XFORM": "The header of a NIfTI file has an unknown code for one of its two transforms "
    "(qform_code, sform_code).",
    "WORKER_STUCK": "A worker no longer finishes the images that it began. Run the same command "
    "again.",
}
"""What codes mean whose messages are put together for the most part from other texts."""
