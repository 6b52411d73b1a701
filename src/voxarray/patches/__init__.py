"""Patches for training and inference, under TorchIO's names, straight from archives and files."""

from __future__ import annotations
