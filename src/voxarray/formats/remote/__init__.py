"""Images behind URLs: archives and ``.nii`` by ranges, other files through local copies."""
