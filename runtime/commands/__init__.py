"""The commands of ``edge-streamer``, a file each: the only room of the runtime that knows devices."""
