"""What a release of the application holds: one list for its way to a device, signed, and for what lies there."""
