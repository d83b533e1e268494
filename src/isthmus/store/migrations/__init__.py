"""Numbered SQL files that create and change our own schema `isthmus`: `half_*` on both halves, `control_*` once."""
