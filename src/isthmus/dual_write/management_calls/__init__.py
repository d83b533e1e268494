"""The management calls of dual-write as its own tools make them, at their paths and in their shapes."""
