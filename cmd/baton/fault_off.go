//go:build !faultpoints

package main

// faultPoint is nothing in a build that people use.
func faultPoint() func(point string) { return nil }
