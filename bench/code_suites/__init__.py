"""The reward `code` against tests in the formats of public data sets: `make code-suites`.

Rows of our own (`rows`) stand for every format, each with right answers, wrong ones and cheats; files of public data
(`public`) and of cases can be added.
"""
