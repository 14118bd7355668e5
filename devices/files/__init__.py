"""Devices that are files: sound, film, stills, text and captions in; voice, film and transcript out."""
