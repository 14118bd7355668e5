"""One conversation with one bundle, and all of its state as one value."""
