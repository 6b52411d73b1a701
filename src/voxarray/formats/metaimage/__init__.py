"""MetaImage: ``.mha`` with its voxels, ``.mhd`` beside them.

::

    header    the tags, checked
    read      opening it
    write     saving as one
"""
