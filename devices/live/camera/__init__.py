"""Live camera."""
