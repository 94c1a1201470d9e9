"""Binding workers to the CPUs beside their devices; named as ``torch.numa``."""
