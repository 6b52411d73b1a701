"""Where bytes are: files, stores, remote objects, local copies, and atomic writing."""
