// Package integration holds what the kernel promises, checked from outside against the built binary:
// over HTTP and the command line, with a model server of the test's own where one is needed.
package integration
