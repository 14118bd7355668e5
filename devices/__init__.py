"""What connects the loop to the world: media files as devices, and live ones (``live/``).

Receives the media contract of a bundle; hands on microphones, cameras, speakers and displays as
`runtime/loop/media.py` describes them. The loop's commands find them here by dotted name. No torch, no onnx.
"""
