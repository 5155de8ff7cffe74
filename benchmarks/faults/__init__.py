"""Faults, injected many times at random places: `python -m benchmarks.faults`.

A kind of fault is a module with a function `rows(seed, rounds, folder)`, which yields a `Row` for
each thing that it does harm to; `__main__` lists the kinds.
"""
