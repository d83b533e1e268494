"""The finance and operations half: tables, data entities over them, and the business logic of its documents."""
