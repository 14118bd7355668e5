"""What only a GPU can answer, in one command: ``python -m tests.gpu``."""
