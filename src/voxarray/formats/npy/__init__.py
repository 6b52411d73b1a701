"""NumPy's .npy files."""
