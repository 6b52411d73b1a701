"""DICOM: files, frames, volumes.

From bytes to voxels, each module one step::

    files      which files of a folder are DICOM
    elements   the data elements of a header, as bytes        tags: those that are looked at
    header     one file: what it is, where its pixels lie     layout: how they lie there
    frames     planes: position, orientation, scaling         facts: what image[...] may say
    mosaic     a plane of tiles that is a volume (Siemens)
    series     which planes belong together, and agree
    volumes    which plane of which volume
    geometry   where the volumes are, or why that cannot be said
    pixels     reading one plane                              codecs: compressed ones
    source     the image                                      reader: opening it

Headers are parsed here, not by pydicom, which takes 3 ms for a scanner's file with 450 elements
where this takes 0.4; and values that are never decoded cannot leak into a message or a warning.
Compressed planes are decoded by pydicom and its plug-ins.
"""
