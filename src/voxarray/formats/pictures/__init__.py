"""Pictures: PNG, JPEG and BMP through SimpleITK.

::

    read        opening one; `voxarray.formats._voxels.picture_checks` asks whether it is whole
    print_size  sizes for printing that files state
    write       saving one slice

TIFF is in `voxarray.formats.tiff`.
"""
