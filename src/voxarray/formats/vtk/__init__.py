"""Legacy VTK files of structured points."""
