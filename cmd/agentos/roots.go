package main

// A container image of this binary alone has no certificates of authorities; these are used only where the system
// has none.
import _ "golang.org/x/crypto/x509roots/fallback"
