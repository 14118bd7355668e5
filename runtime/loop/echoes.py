"""What may be done against the agent hearing itself, by name.

Receives nothing; hands on the names, to what reads them from the command line without a library.
"""

from typing import Literal

Echo = Literal["full", "half", "system", "off"]

ECHOES: tuple[Echo, ...] = ("full", "half", "system", "off")
