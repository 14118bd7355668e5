"""Engines: one file per library that runs graphs; the library is imported inside its own file only."""
