"""What runs in a worker, away from the trainer: Python's standard library only, and imports only of each other.

A worker loads this folder as a package of its own name (`worker.BOOT`), without postlude or site-packages, so the
modules here import each other relatively.
"""
