"""What `postlude explain` knows: an index over the tables that say what things mean, wherever they stand.

It has no facts of its own. A figure is explained by `runs/figures`, a key by the schema, a code by `codes`, and what
the code does not hold by `facts/`; each such table is a `Home` here.
"""
