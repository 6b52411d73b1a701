"""The NIfTI header as a value: its fields, its affine, and how one is built."""
