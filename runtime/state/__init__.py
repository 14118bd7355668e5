"""All state of a session: carries and rings, committed when a unit is whole, taken back when it is not."""
