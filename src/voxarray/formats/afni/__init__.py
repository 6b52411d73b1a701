"""AFNI data sets (.HEAD with .BRIK)."""
