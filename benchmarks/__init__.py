"""Benchmarks. Each prints one JSON object a line: benchmark, figure, value, unit, floor, ratio.

`make bench NAME=live_sync` runs benchmarks/live_sync.py.
"""
