"""The recorded runs, a module each: a plan, what makes the record, what shows it."""
