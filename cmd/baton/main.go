package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	useRules()
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// A program is one start of the executable: what every verb and option needs.
type program struct {
	argv   []string // as started
	word   string   // the name of the file that was started: what stands before the colon in messages and in ps
	paths  paths
	stdout io.Writer
	stderr io.Writer
}

// run does what argv says and returns the exit status.
func run(argv []string, stdout, stderr io.Writer) int {
	// A worker, or a master that executed itself again: nothing in argv is an
	// option then.
	if code, ok := runRole(argv, stdout, stderr); ok {
		return code
	}
	p := newProgram(argv, stdout, stderr)
	if len(argv) > 1 && p.isVerb(argv[1]) {
		return p.runVerb(argv[1:])
	}
	var args []string
	if len(argv) > 1 {
		args = argv[1:]
	}
	switch {
	case len(args) == 1 && args[0] == "--help":
		fmt.Fprint(stdout, p.help())
		return 0
	case len(args) == 1 && args[0] == "--version":
		fmt.Fprintln(stdout, p.versionLine())
		return 0
	}
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.word, err)
		if hint := p.hint(args); hint != "" {
			fmt.Fprintf(stderr, "%s: hint: %s\n", p.word, hint)
		}
		return 1
	}
	return p.runOptions(o)
}

func newProgram(argv []string, stdout, stderr io.Writer) *program {
	word := "baton"
	if len(argv) > 0 && argv[0] != "" {
		word = filepath.Base(argv[0])
	}
	// Without a name there is only the fixed prefix: no reason to stop.
	exe, _ := os.Executable()
	return &program{argv: argv, word: word, paths: builtinPaths(exe), stdout: stdout, stderr: stderr}
}

// runOptions does what nginx does with its options, in its order: tell the
// version, then test, then signal, then serve.
func (p *program) runOptions(o options) int {
	if o.version {
		p.printVersion(o)
		if !o.test {
			return 0
		}
	}
	dir, err := os.Getwd()
	if err != nil && o.prefix != nil && !filepath.IsAbs(*o.prefix) {
		fmt.Fprintf(p.stderr, "%s: find working directory: %v\n", p.word, err)
		return 1
	}
	p.paths = p.paths.with(o, dir)
	switch {
	case o.test:
		return p.testConfig(o)
	case o.signal != "":
		return p.sendSignal(o)
	}
	return serve(p.serveOptions(o))
}
