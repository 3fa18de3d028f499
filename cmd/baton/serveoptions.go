package main

import (
	"io"
	"log/slog"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
)

// serveOptions is what the command line gives to the server.
type serveOptions struct {
	Argv    []string // as started
	Word    string   // what stands before the colon in ps and in messages
	Version string

	// Prefix is absolute; ConfFile and ErrorLog are as given or built in, and may
	// be relative to it.
	Prefix, ConfFile, ErrorLog string

	// Load loads the configuration from disk and checks all of it. Errors are in
	// nginx's words; logFailure writes them with their level.
	Load func() (*conf.Config, error)
	// OpenLog opens the log that is in use until the configuration names its own.
	OpenLog func() (log *slog.Logger, closeLog func())

	Stdout, Stderr io.Writer
}

func (p *program) serveOptions(o options) serveOptions {
	return serveOptions{
		Argv:     p.argv,
		Word:     p.word,
		Version:  version,
		Prefix:   p.paths.prefix,
		ConfFile: p.paths.conf,
		ErrorLog: p.paths.errorLog,
		Load:     func() (*conf.Config, error) { return p.load(o) },
		OpenLog:  func() (*slog.Logger, func()) { return p.startLog(errorlog.Notice) },
		Stdout:   p.stdout,
		Stderr:   p.stderr,
	}
}
