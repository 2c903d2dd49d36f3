//go:build !linux

package doctor

// clockSynchronised sees no harm: this system has no common way to ask.
func clockSynchronised() bool { return true }
