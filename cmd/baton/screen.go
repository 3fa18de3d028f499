package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/fatih/color"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// A screen shows an upgrade to a person: a line for each step when it has ended, and
// on a terminal a bar while there is something to wait for.
type screen struct {
	p     *program
	verb  string
	out   io.Writer
	bar   *progressbar.ProgressBar // nil while none is shown
	tty   bool
	good  *color.Color
	bad   *color.Color
	plain *color.Color
	begun bool // a step was
}

func newScreen(p *program, verb string) *screen {
	s := &screen{p: p, verb: verb, out: p.stdout, tty: isTerminal(p.stdout)}
	s.good, s.bad, s.plain = color.New(color.FgGreen), color.New(color.FgRed), color.New(color.Faint)
	for _, c := range []*color.Color{s.good, s.bad, s.plain} {
		if s.tty && os.Getenv("NO_COLOR") == "" {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
	}
	return s
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (s *screen) show(e upgrade.Event) {
	e.Text, e.Error = printable(e.Text), printable(e.Error)
	if e.Event == "progress" {
		s.progress(e)
		return
	}
	if s.bar != nil {
		_ = s.bar.Finish() // it clears itself; a terminal that cannot is no reason to stop
		s.bar = nil
	}
	s.begun = s.begun || e.Event == "begin"
	switch {
	case e.Event == "note":
		fmt.Fprintf(s.out, "%8s  %s %s\n", "", s.plain.Sprintf("%-8s", "note"), e.Text)
	case e.Event == "end" && e.Error != "":
		fmt.Fprintf(s.out, "%7.2fs  %s failed\n", e.Seconds, s.bad.Sprintf("%-8s", e.Step))
	case e.Event == "end":
		fmt.Fprintf(s.out, "%7.2fs  %s %s\n", e.Seconds, s.good.Sprintf("%-8s", e.Step), e.Text)
	case e.Event == "result":
		s.result(e)
	}
}

// progress moves the bar. Without a terminal nobody watches.
func (s *screen) progress(e upgrade.Event) {
	if !s.tty || e.Of == 0 {
		return
	}
	if s.bar == nil {
		options := []progressbar.Option{
			progressbar.OptionSetWriter(s.out),
			progressbar.OptionSetDescription(fmt.Sprintf("%8s  %-8s", "", e.Step)),
			progressbar.OptionSetItsString(e.Unit),
			progressbar.OptionShowCount(),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionEnableColorCodes(false),
		}
		if e.Unit != "seconds" { // whose rate is known
			options = append(options, progressbar.OptionShowIts())
		}
		s.bar = progressbar.NewOptions(e.Of, options...)
	}
	if s.bar.GetMax() != e.Of {
		s.bar.ChangeMax(e.Of)
	}
	// A full bar counts as finished and takes no more.
	_ = s.bar.Set(min(e.Count, e.Of-1))
}

// result tells how it ended: the cause, what the server said of it, and what to type.
func (s *screen) result(e upgrade.Event) {
	if e.Error == "" {
		return // the last step said it
	}
	how := map[upgrade.Outcome]string{
		upgrade.Failed: "the old version serves as before",
		upgrade.Stuck:  "and it could not be undone: a person must look",
	}[e.Result]
	switch {
	case *e.ExitStatus == 3 || *e.ExitStatus == 4 || !s.begun:
		fmt.Fprintf(s.p.stderr, "%s: %s\n", s.p.word, e.Error)
	default:
		fmt.Fprintf(s.p.stderr, "%s: %s failed, %s:\n", s.p.word, s.verb, how)
		for line := range strings.Lines(e.Error) {
			fmt.Fprintf(s.p.stderr, "  %s\n", strings.TrimRight(line, "\n"))
		}
	}
	if len(e.Log) > 0 {
		fmt.Fprintf(s.p.stderr, "the error log says:\n  %s\n", printable(strings.Join(e.Log, "\n  ")))
	}
	for _, c := range e.Next {
		fmt.Fprintf(s.p.stderr, "next: %s  # %s\n", printable(c.Command), c.Does)
	}
}

// printable replaces what a terminal would obey: logs have what clients sent, and a
// binary says what it likes.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
