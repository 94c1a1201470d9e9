"""Agents: who looks after the workers of a host."""
