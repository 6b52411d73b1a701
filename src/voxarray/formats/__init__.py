"""Writing image files from any source: slab by slab, and visible only when they are whole."""
