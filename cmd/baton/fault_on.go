//go:build faultpoints

package main

import (
	"os"
	"syscall"
)

// faultVariable names the point at which a command is killed. It is for tests: a build
// that people use does not look at it.
const faultVariable = "BATON_FAULT"

// faultPoint kills this process, as "kill -9" does, at the point that the variable names.
func faultPoint() func(point string) {
	want := os.Getenv(faultVariable)
	return func(point string) {
		if want != "" && point == want {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // it has not arrived yet
		}
	}
}
