"""A function that returns an array of 256 MiB."""

import numpy


def work():
    return numpy.ones(256 << 20, "u1")
