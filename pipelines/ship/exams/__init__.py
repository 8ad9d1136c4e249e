"""Exams: reward models held against public benchmarks and held-out pairs."""
