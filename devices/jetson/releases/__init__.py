"""Releases on the device: added whole, switched by one rename, watched by the service, and gone back from."""
