"""Files that are reached by a URL: object stores, web servers, whatever fsspec knows.

An `Address` says where, `Objects` read there. Every request is tried again a bounded number of
times with growing, random pauses; what then still fails is an error with a code, never a value.
Packages that do the transport are imported when the first request is made.
"""
