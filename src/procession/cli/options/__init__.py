"""The words of a command line for ``procession run``, read and checked. Pure."""
