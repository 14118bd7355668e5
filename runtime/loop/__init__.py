"""The real-time loop: microphone, camera, speaker and screen around a session, on the clock.

Receives a session and live devices; hands on a conversation and what is counted of it. Owns time: when a unit is full,
how much sound is waiting to be played, how late the model is and what is given up for it. Knows devices only as
`ports.py` describes them, and time only as a :class:`~edge_streamer.runtime.timing.Clock`.
"""
