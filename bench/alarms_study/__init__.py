"""Planted faults and healthy runs, and which alarms they raise: `make study-alarms` writes docs/alarms-study.md.

Runs are collected once and kept; the rules are judged on their events, again and again, without training.
"""
