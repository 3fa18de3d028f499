package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manCommand is "baton man": the manual page, made from the table of commands.
func (p *program) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man",
		Short: "print the manual page",
		Long:  "Print the manual page in troff form, for " + p.word + ".8 in the folder of a manual's section 8.",
		Args:  exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(p.stdout, p.manPage(c.Root()))
			return err
		},
	}
}

// manPage returns the manual page in man(7) macros.
func (p *program) manPage(root *cobra.Command) string {
	var b strings.Builder
	macro := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	macro(`.TH %s 8 "" "baton %s" "System Administration"`, strings.ToUpper(troff(p.word)), troff(version))
	macro(".SH NAME\n%s \\- %s", troff(p.word), troff(root.Short))
	macro(".SH SYNOPSIS\n.B %s\n[\\fIoption\\fR]...", troff(p.word))
	for _, c := range verbs(root) {
		macro(".br\n.B %s %s", troff(p.word), troff(c.Use))
	}
	macro(".SH DESCRIPTION\nWith no verb it is the server: it reads nginx.conf, opens the sockets of the configuration,")
	macro("starts workers and goes to the background. It takes nginx's options and obeys nginx's signals, and its")
	macro("running binary can be replaced by nginx's procedure with no failed connection.")
	macro(".SH OPTIONS")
	for _, o := range optionTable() {
		macro(".TP\n.B %s\n%s.", troff(o.synopsis()), troff(o.help))
	}
	macro(".PP\nLetters may be joined, and an argument may follow its letter directly: \\fB\\-tc\\fR \\fIfile\\fR, \\fB\\-sreload\\fR.")
	macro(".PP\n\\fB\\-s\\fR reload waits until the new configuration serves, and fails when it does not; " +
		"with \\fB\\-\\-no\\-wait\\fR it only sends the signal.")
	macro(".SH VERBS")
	for _, c := range verbs(root) {
		macro(".SS %s", troff(c.Use))
		macro("%s", troff(c.Long))
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			arg, usage := pflag.UnquoteUsage(f)
			macro(".TP\n.B \\-\\-%s %s\n%s.", troff(f.Name), troff(arg), troff(usage))
		})
	}
	macro(".SH SIGNALS\nTo the master process:")
	for _, s := range [][2]string{
		{"TERM, INT", "exit at once"},
		{"QUIT", "serve what is open to its end, then exit"},
		{"HUP", "load the configuration again and start new workers with it; after an upgrade, bring the old workers back"},
		{"USR1", "reopen the log files"},
		{"USR2", "execute the binary on disk as a new master that takes over the sockets"},
		{"WINCH", "end the workers when they have served what is open; the master stays"},
	} {
		macro(".TP\n.B %s\n%s.", s[0], s[1])
	}
	macro(".SH FILES\nRelative to the prefix:")
	for _, f := range [][2]string{{p.paths.conf, "configuration"}, {p.paths.pid, "number of the master process"},
		{p.paths.errorLog, "error log"}, {p.paths.httpLog, "access log"}} {
		macro(".TP\n.I %s\n%s.", troff(f[0]), f[1])
	}
	macro(".SH EXIT STATUS\n0 when done: for a start in the background, when the workers serve. 1 when it was refused or failed.")
	macro("2 when a verb was called wrongly. 3 when nothing is running where a verb was sent.")
	macro("4 when another upgrade is under way. 5 when an upgrade failed and could not be undone: a person must look.")
	return b.String()
}

// verbs returns the commands of the manual: those of cobra's own making only by name.
func verbs(root *cobra.Command) []*cobra.Command {
	var cs []*cobra.Command
	for _, c := range root.Commands() {
		if !c.Hidden && c.Name() != "help" {
			cs = append(cs, c)
		}
	}
	return cs
}

// troff escapes text: a hyphen that is typed, a backslash, and a dot or a quote
// at the start of a line, which would be a macro.
func troff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, l := range lines {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			l = `\&` + l
		}
		lines[i] = l
	}
	return strings.Join(lines, "\n")
}
