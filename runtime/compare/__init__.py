"""Numbers against a reference: golden units, the check on a device, error over time."""
