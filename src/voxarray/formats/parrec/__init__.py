"""Philips PAR/REC."""
