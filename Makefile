# The commands of README.md and CONTRIBUTING.md, as they stand there.
SHELL := /bin/bash
.PHONY: test lint demo versions

test lint demo:
	eval "$$(.ci/command $@)"

versions:  # With the oldest and the newest dependencies.
	.ci/versions
