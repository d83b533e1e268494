"""What Dataverse does with every row by itself: system columns, owners, states, values, names."""
