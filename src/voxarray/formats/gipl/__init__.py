"""GIPL files."""
