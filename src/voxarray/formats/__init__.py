"""Image files: a folder per format, with what opens and what saves it.

::

    table         all formats: their suffixes, and the functions that read and write each
    record        what a row of the table says
    plugins       formats of other packages
    registry      from a path to its format, and opening it
    suffixes      what the suffix of a path says
    companions    the other file of images that are kept in two
    file_sets     all files that belong to one image
    packed_files  files inside zip and tar files
    memory_check  whether the memory budget has room for saving an image

What several formats share is in `_voxels`. Every writer takes any source, goes through it slab by
slab, and its file is visible only when it is whole.
"""
