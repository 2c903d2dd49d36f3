// Package httpserver is the kernel's HTTP front: routing by echo, API keys, strict JSON, problem
// documents, server-sent events, and an orderly stop.
//
// Handlers return a *fault.Error and never write an error themselves: one error handler turns every
// error, those of the router included, into a problem document (RFC 9457) with the members "code" (the
// fault's kind) and "fix" (what to do about it) besides the standard ones.
package httpserver
