# The commands of README.md and CONTRIBUTING.md.
SHELL := /bin/bash
.PHONY: test lint demo docs versions mutants

test lint demo docs:
	eval "$$(.ci/command $@)"

versions:  # With the oldest and the newest dependencies.
	.ci/versions

mutants:  # Mutation tests of the numerical core: hours; docs/reliability.md has the results.
	python -m benchmarks.mutants
