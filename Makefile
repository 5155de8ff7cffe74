# The commands of README.md and CONTRIBUTING.md.
SHELL := /bin/bash
.PHONY: test lint demo docs versions

test lint demo docs:
	eval "$$(.ci/command $@)"

versions:  # With the oldest and the newest dependencies.
	.ci/versions
