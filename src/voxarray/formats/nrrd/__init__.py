"""NRRD: header and voxels in one file, or in several.

::

    header    the fields, checked
    axes      what they say of size, kind and place
    read      opening it: where the voxels lie, and how they are encoded
    write     saving as one
"""
