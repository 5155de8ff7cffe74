# The commands of README.md and CONTRIBUTING.md, as they stand there.
SHELL := /bin/bash
.PHONY: test lint demo

test lint demo:
	eval "$$(.ci/command $@)"
