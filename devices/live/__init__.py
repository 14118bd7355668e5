"""Live devices: microphone, speaker, camera and screen, each driven by a process of its own.

Receives names of devices and the bundle's media contract; hands on what ``runtime/loop/ports.py`` describes. Every
device library lives in a *worker*: a small program that opens one device and speaks over one socket
(:mod:`edge_streamer.devices.live.process.wire`); a :class:`~edge_streamer.devices.live.process.supervisor.Supervisor`
in the loop's process starts it, hears it, and starts it again when it is lost.

Why processes: an audio callback in the loop's process waits for the interpreter lock that the model's host code holds;
PortAudio learns of a device that was plugged in only when it is shut down and started again, which closes every stream
of the process; and a driver that hangs in the kernel takes its whole process with it. None of that can reach the loop
or another device from here. The price is some 30 MB of memory for each worker.
"""
