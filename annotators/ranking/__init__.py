"""Ranking a group by comparing pairs: topologies, fits, and what to ask next."""
