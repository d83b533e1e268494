"""Parts of `scripts/import_facts.py`: each turns one kind of published fact into one kind of definition."""
