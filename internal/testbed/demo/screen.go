package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/load"
	"golang.org/x/sys/unix"
)

// A screen prints the demo: in colour on a terminal, else in plain text.
type screen struct {
	out    io.Writer
	colour bool
}

func newScreen(out io.Writer) *screen {
	f, isFile := out.(*os.File)
	if !isFile || os.Getenv("NO_COLOR") != "" {
		return &screen{out: out}
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &screen{out: out, colour: err == nil && os.Getenv("TERM") != "dumb"}
}

// Colours and weights, as SGR parameters (ECMA-48).
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *screen) paint(sgr, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (s *screen) title(text string) {
	fmt.Fprintf(s.out, "\n%s\n%s\n\n", s.paint(bold, text), strings.Repeat("=", len(text)))
}

func (s *screen) step(number int, what, command string) {
	fmt.Fprintf(s.out, "\n%s %s\n   %s\n", s.paint(bold, fmt.Sprintf("%2d", number)), s.paint(bold, what), s.paint(cyan, "$ "+command))
}

func (s *screen) note(format string, args ...any) {
	fmt.Fprintln(s.out, s.paint(faint, fmt.Sprintf("   "+format, args...)))
}

// good prints a line that is good news.
func (s *screen) good(format string, args ...any) {
	fmt.Fprintln(s.out, "   "+s.paint(green, fmt.Sprintf(format, args...)))
}

// text prints lines as they are, indented.
func (s *screen) text(lines string) {
	for line := range strings.Lines(lines) {
		fmt.Fprintf(s.out, "   %s\n", strings.TrimRight(line, " \n"))
	}
	fmt.Fprintln(s.out)
}

func (s *screen) answer(by string, times int) {
	fmt.Fprintf(s.out, "   %2d of %d answers by %s\n", times, questions, s.paint(green, by))
}

// took prints the time of a step, and what clients saw during it.
func (s *screen) took(rec stepRecord) {
	fmt.Fprintf(s.out, "   done in %v", round(rec.took))
	if rec.before == nil {
		fmt.Fprintln(s.out)
		return
	}
	onNew, onKept := rec.lost()
	text := fmt.Sprintf("%d lost", onNew+onKept)
	if onNew+onKept > 0 {
		text = s.paint(red, text)
	}
	fmt.Fprintf(s.out, "; under load: %s, %s\n", rec.answered(), text)
}

// answered says how many requests were answered in the step, and by whom.
func (r stepRecord) answered() string {
	var parts []string
	for _, by := range r.after.By() {
		n := 0
		for i := range r.after.Groups {
			n += r.after.Groups[i].Answered[by] - r.before.Groups[i].Answered[by]
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d by %s", n, by))
		}
	}
	return strings.Join(parts, ", ")
}

// lost counts the requests lost in the step, on new connections and on others.
func (r stepRecord) lost() (onNew, onKept int) {
	for i, g := range r.after.Groups {
		n := lost(g.Count) - lost(r.before.Groups[i].Count)
		if g.Name == newConnections {
			onNew += n
		} else {
			onKept += n
		}
	}
	return onNew, onKept
}

// lost counts requests that a client could not get answered.
func lost(c load.Count) int { return c.Lost + c.Refused + c.Unopened + c.Wrong }

// stepTable lists the steps and the time of each.
func stepTable(done []stepRecord) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "step\ttime\tlost on new connections\ton kept ones\tanswered")
	for i, rec := range done {
		name := strings.NewReplacer("{old}", "OLD", "{new}", "NEW").Replace(rec.name)
		fmt.Fprintf(w, "%2d  %s\t%v\t", i+1, name, round(rec.took))
		if rec.before == nil { // no load
			fmt.Fprintln(w, "\t\t")
			continue
		}
		onNew, onKept := rec.lost()
		fmt.Fprintf(w, "%d\t%d\t%s\n", onNew, onKept, rec.answered())
	}
	w.Flush()
	return b.String()
}

// verdict says in words what the report means. It returns an error when requests
// on new connections were lost, when a client of a kept connection noticed
// anything, or the account does not add up. Of foreign servers nobody expects that
// kept connections move.
func verdict(show *screen, r *load.Report, foreign bool) error {
	var errs []error
	for _, g := range r.Groups {
		if err := g.Check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.Name, err))
		}
		n := lost(g.Count)
		text := fmt.Sprintf("%s: %d requests lost, %d idle connections cut, %d closes announced, %d reconnects",
			g.Name, n, g.Violations(), g.Announced, g.Reconnects)
		switch {
		case n > 0 && g.Name == newConnections:
			errs = append(errs, fmt.Errorf("%d requests on %s were lost", n, g.Name))
		case g.Noticed() > 0 && !foreign:
			errs = append(errs, errors.New(text))
		case g.Failed() > 0:
			fmt.Fprintln(show.out, "   "+show.paint(red, text))
		case g.Noticed() > 0:
			show.good("%s: nothing lost, %d clients told to open another connection", g.Name, g.Announced)
		case g.Name == newConnections:
			show.good("%s: nothing lost", g.Name)
		default:
			show.good("%s: nothing lost, no connection opened again", g.Name)
		}
	}
	for _, g := range r.Groups {
		const shown = 3
		for _, f := range g.Failures[:min(shown, len(g.Failures))] {
			show.note("%s, at %v: %s", g.Name, round(f.At), f.What)
		}
	}
	return errors.Join(errs...)
}

// round makes a duration readable.
func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}

// logTail returns the last lines of the error log.
func (s *stage) logTail() string {
	const lines = 15
	text, err := os.ReadFile(s.prefix.ErrorLog())
	if err != nil {
		return err.Error()
	}
	all := strings.SplitAfter(string(text), "\n")
	return strings.Join(all[max(0, len(all)-lines-1):], "")
}
