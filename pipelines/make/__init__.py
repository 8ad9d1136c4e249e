"""Synthesis and rollouts."""
