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

// The command line is specified by the scripts in testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		// A test that hangs fails; none of the scripts starts a server.
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
