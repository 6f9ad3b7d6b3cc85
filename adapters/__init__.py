"""Adapters: the registry of versions, their artifacts, the engines that hold them, and the swap."""
