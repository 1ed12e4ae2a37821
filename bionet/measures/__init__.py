"""What is measured on learned rows and on whole runs: maps, colour, geometry, stability."""
