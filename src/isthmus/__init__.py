"""Isthmus: one shared data layer between a finance and operations app and a Dataverse-style platform."""

__version__ = "0.1.0"
