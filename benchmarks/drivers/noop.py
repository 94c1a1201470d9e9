"""A function that does nothing."""


def work():
    pass
