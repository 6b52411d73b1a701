"""Images of other libraries from sources, and sources from those; each imported when it is used."""
