"""NIfTI: single files, pairs with a header of their own, Analyze.

::

    read             opening a single file
    read_pair        opening .hdr and .img: NIfTI pairs, Analyze
    source           the image; voxels of a .nii by offset
    gzip_source      voxels of a .nii.gz, whole or by slabs
    header_warnings  what is odd in a header, such as sform and qform that disagree
    write            saving as a single file
    write_pair       saving as .hdr and .img

Fields of headers, their sform and qform, and headers for images that have none are in
`voxarray.nifti_header`, as archives and other formats have them, too.
"""
