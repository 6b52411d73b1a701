"""The archive: one Zarr store per image that the whole field can open, whole or not there.

Layout of an archive (OME-Zarr 0.5, NIfTI-Zarr and xarray read it as it is)::

    sub-01_T1w.ome.zarr/
      zarr.json              group: OME-Zarr multiscales; our keys (exact affine, scaling, history)
      manifest.json          size and digest of every other file; written last
      nifti/                 NIfTI header as bytes (NIfTI-Zarr), scrubbed of free text
      label_counts/          label maps: rows (channel, chunk, value, count)
      weight_sums/           floating-point intensities: sums (channel, chunk)
      scale0/                group that xarray opens
        image/               (c or t, z, y, x), chunks in shards, every chunk with a crc32c
        x/ y/ z/             mm along the voxel axes from the origin of RAS+
        spatial_ref/         attributes: directions of the voxel axes in the world, RAS+
      scale1/image/ ...      pyramid: mean for intensities, mode for labels
      labels/<name>/...      label maps on the image's grid, in the same form

`convert` writes one, `voxarray.archive.source.open_archive` reads one, `verify` checks one.
"""
