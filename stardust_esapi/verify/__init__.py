"""Proof that exported folders hold what they should: manifests, and checking them again."""
