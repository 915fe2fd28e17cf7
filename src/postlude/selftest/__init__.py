"""What holds on this machine, for this model: the promises of the local engine, each measured and compared.

`table` lists the checks, `running` runs them, the other files hold what they measure, a family each.
"""
