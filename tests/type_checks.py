"""The run-time checker of signatures that the tests use; see `conftest`."""

from beartype import BeartypeConf, beartype

#: PEP 484's numbers: an int is good wherever a float is.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
