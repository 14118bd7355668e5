"""Mender carries releases of the application to devices: its update module here, and the artifact that it takes."""
