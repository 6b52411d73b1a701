"""For tests of voxarray and of what builds on it: strategies, counters, peak memory.

Imports everything and is imported by nothing; `hypothesis` is needed for the strategies only.
"""
