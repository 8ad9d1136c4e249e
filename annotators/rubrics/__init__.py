"""Judging by stated criteria: rubrics, checks, policies and failure taxonomies."""
