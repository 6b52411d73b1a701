"""Pictures: PNG, JPEG and BMP through SimpleITK, TIFF through tifffile.

::

    checks    whether a file is whole, which decoders do not ask
    reader    opening PNG, JPEG and BMP                  tiff: pages, tiles and planes
"""
