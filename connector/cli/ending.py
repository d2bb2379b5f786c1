"""What is closed as a command ends, however it ends."""

from contextlib import ExitStack

AT_END = ExitStack()
