"""The recorded runs: a plan, what makes the record, what shows it.

A module a run; ``curves`` holds three, and ``robustness`` has a folder of its own beside this one. The
list of all is :mod:`bionet_reproduction.catalogue`: a new run is a module here and an entry there.
"""
