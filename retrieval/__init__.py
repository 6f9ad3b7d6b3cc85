"""Retrieval: passages and memory for one tenant, found by meaning."""
