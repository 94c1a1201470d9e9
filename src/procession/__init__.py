"""Launch, watch, log, explain and stop a gang of worker processes, as torchrun does, without torch."""

__version__ = "0.1.0"
