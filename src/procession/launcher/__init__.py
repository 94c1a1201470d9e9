"""Run a function or a program as a gang, from Python; named as ``torch.distributed.launcher``."""

from __future__ import annotations

from procession.launcher.api import LaunchConfig, RestartPolicy, elastic_launch, launch_agent

__all__ = ["LaunchConfig", "RestartPolicy", "elastic_launch", "launch_agent"]
