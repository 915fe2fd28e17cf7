"""Breaking runs on purpose: every file operation failed, files damaged, processes killed, parts of the state left out.

shim.py       counts what a run does to its folder, and fails one operation of it
families.py   small runs of many kinds, and the world they train in
trial.py      a command of postlude in a forked process, and what became of it
folder.py     the bytes of a run folder, compared
faults.py     `make faults`: every operation fails once;   damage.py: every file is damaged in turn
kills.py      `make kills`: SIGKILL at random times;       mutations.py: parts of the saved state left out
report.py     tables for the terminal, and for docs/reliability.md
"""
