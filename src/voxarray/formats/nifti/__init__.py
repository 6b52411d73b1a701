"""NIfTI: single files, pairs with a header of their own, Analyze.

From bytes to voxels, each module one step::

    fields    the header's fields, byte by byte          header: one header, checked
    affine    sform and qform                            remarks: what is odd and can be read
    build     a header for an image that has none
    file      voxels of a .nii, by offset                gz: of a .nii.gz, whole or by slabs
                                                         pair: .hdr and .img, Analyze
    reader    opening a single file
"""
