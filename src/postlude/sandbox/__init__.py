"""A sandbox for programs that a model wrote.

`backends.choose` finds the strongest way of running them on this machine and proves it with `canaries`; a `Pool` leases
`Worker`s, each a fork server (`inside/server.py`); a `Child` is one program with the pipes to it.
"""
