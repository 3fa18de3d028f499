package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the program itself: in a script under the
// name baton or nginx, and copied anywhere under one of these names.
func TestMain(m *testing.M) {
	program := func() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"baton": program, "nginx": program})
}

// quickRace is for programs with the race detector: it makes a process stay for
// a second when it ends, in case a race shows up then.
const quickRace = "atexit_sleep_ms=1"

// The command line is specified by the scripts in testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", quickRace)
			return nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
