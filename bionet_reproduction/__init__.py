"""The workshop beside :mod:`bionet`: the claims, the recorded runs behind the book, and their verdicts."""
