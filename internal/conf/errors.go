package conf

import "fmt"

// CommandLine is the File of directives that came with -g.
const CommandLine = "command line"

// An Error is a fault of the configuration, worded as nginx words it.
type Error struct {
	// Level is nginx's level of the message: "emerg", or "crit" for a file that
	// opens and cannot be read.
	Level string
	Msg   string
	// File and Line are the place; File is "" when the fault has none, and Line is
	// 0 in a text that has no lines: [CommandLine].
	File string
	Line int
	// Late: the configuration's syntax is right, and nginx says so before it finds this.
	Late bool
}

// Error returns the message without its level: `unknown directive "foo" in
// P/conf/nginx.conf:3`.
func (e *Error) Error() string { return e.Msg + place(e.File, e.Line) }

// Errorf returns an error about d, at level emerg.
func Errorf(d *Directive, format string, args ...any) *Error {
	e := &Error{Level: "emerg", Msg: fmt.Sprintf(format, args...)}
	if d != nil {
		e.File, e.Line = d.File, d.Line
	}
	return e
}

// place is the end of a message that says where: "", " in command line" or
// " in FILE:LINE".
func place(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return " in " + file
	}
	return fmt.Sprintf(" in %s:%d", file, line)
}
