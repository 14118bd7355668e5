"""What connects the loop to the world: media files as devices (``files/``), and live ones (``live/``).

Receives the media contract of a bundle; hands on microphones, cameras, speakers and displays as
`runtime/loop/media.py` describes them. Of the runtime only `runtime/commands/` knows them. No torch, no onnx.
"""
