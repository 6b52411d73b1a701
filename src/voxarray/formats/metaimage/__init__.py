"""MetaImage: ``.mha`` with its voxels, ``.mhd`` beside them.

::

    header    the tags, checked                          reader: opening it
"""
