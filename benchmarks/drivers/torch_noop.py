"""A function that does nothing, in a module that imports torch, as that of most trainers does."""

import torch


def work():
    return torch.__name__ and None
