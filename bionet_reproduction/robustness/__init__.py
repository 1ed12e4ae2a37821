"""The open question: which networks withstand which attacks, and how sure that is."""
