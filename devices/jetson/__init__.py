"""What machine this is, above all which Jetson: read from files, judged line by line; nothing here changes anything."""
