"""Benchmarks. Each prints one JSON object a line: benchmark, figure, value, unit, floor, ratio.
