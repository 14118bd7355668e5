"""Live microphone and speaker."""
