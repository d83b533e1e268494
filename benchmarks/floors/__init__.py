"""The floors of the read benchmark: servers that do nothing but the query, on the same driver, loop and HTTP parser."""
