"""The management API: what administrators and the console ask, over the classes of dual-write."""
