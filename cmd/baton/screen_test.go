package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// terminal returns a terminal, and what reads all that was written to it and closes it.
func terminal(t *testing.T) (tty *os.File, written func() string) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	if err := unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, control) // it ends with EIO when nobody has the terminal open
		read <- b.String()
	}()
	return tty, func() string {
		tty.Close()
		return <-read
	}
}

// play shows an upgrade that drains, soaks and fails.
func play(s *screen) {
	for _, e := range []upgrade.Event{
		{Event: "begin", Step: upgrade.Retire},
		{Event: "progress", Step: upgrade.Retire, Count: 1, Of: 4, Unit: "connections"},
		{Event: "progress", Step: upgrade.Retire, Count: 3, Of: 8, Unit: "connections"},
		{Event: "end", Step: upgrade.Retire, Text: "the old ones are gone", Seconds: 1.5},
		{Event: "begin", Step: upgrade.Soak},
		{Event: "progress", Step: upgrade.Soak, Count: 2, Of: 30, Unit: "seconds"},
		{Event: "end", Step: upgrade.Soak, Error: "soak: broken", Seconds: 2},
	} {
		s.show(e)
	}
}

// On a terminal there are colours, unless they are not wanted, and bars that leave
// nothing behind; anywhere else there are plain lines only.
func TestScreen(t *testing.T) {
	const plain = "   1.50s  retire   the old ones are gone\n   2.00s  soak     failed\n"
	colour := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for _, noColor := range []string{"", "1"} {
		t.Setenv("NO_COLOR", noColor)
		tty, written := terminal(t)
		play(newScreen(&program{stdout: tty, stderr: tty}, "upgrade"))
		text := strings.ReplaceAll(written(), "\r\n", "\n")
		if got := colour.MatchString(text); got != (noColor == "") {
			t.Errorf("NO_COLOR=%q: colours: %v in %q", noColor, got, text)
		}
		text = colour.ReplaceAllString(text, "")
		for _, want := range []string{"1/4", "3/8", "2/30", "connections/", "retire", "soak"} {
			if !strings.Contains(text, want) {
				t.Errorf("NO_COLOR=%q: no %s in %q", noColor, want, text)
			}
		}
		if strings.Contains(text, "seconds/") {
			t.Errorf("NO_COLOR=%q: a rate of seconds in %q", noColor, text)
		}
		if got := onScreen(text); got != plain {
			t.Errorf("NO_COLOR=%q: %q is left on the terminal, want %q", noColor, got, plain)
		}

		var file bytes.Buffer
		play(newScreen(&program{stdout: &file, stderr: &file}, "upgrade"))
		if got := file.String(); got != plain {
			t.Errorf("NO_COLOR=%q: without a terminal %q, want %q", noColor, got, plain)
		}
	}
}

// onScreen returns what a terminal shows in the end: a carriage return goes to the
// beginning of the line, "\x1b[K" clears what is behind it, and what is written covers
// what was there.
func onScreen(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		var row []rune
		column := 0
		rest := strings.TrimSuffix(line, "\n")
		for rest != "" {
			switch {
			case strings.HasPrefix(rest, "\x1b[2K"):
				row, rest = nil, rest[4:]
			case strings.HasPrefix(rest, "\x1b[K"):
				row, rest = row[:min(column, len(row))], rest[3:]
			case rest[0] == '\r':
				column, rest = 0, rest[1:]
			default:
				r := []rune(rest)[0]
				for len(row) <= column {
					row = append(row, ' ')
				}
				row[column] = r
				column++
				rest = rest[len(string(r)):]
			}
		}
		out.WriteString(strings.TrimRight(string(row), " "))
		out.WriteString(line[len(strings.TrimSuffix(line, "\n")):])
	}
	return out.String()
}

// What a client or a binary wrote does not reach the terminal as a command for it.
func TestScreenObeysNobody(t *testing.T) {
	var out, errs bytes.Buffer
	s := newScreen(&program{stdout: &out, stderr: &errs, word: "baton"}, "upgrade")
	const evil = "\x1b]0;x\a\r\u009b2J"
	status := 1
	s.show(upgrade.Event{Event: "begin", Step: upgrade.Check})
	s.show(upgrade.Event{Event: "note", Text: "note" + evil})
	s.show(upgrade.Event{Event: "result", Result: upgrade.Failed, ExitStatus: &status, Error: "-t says" + evil, Log: []string{"GET /" + evil}})
	v := view{out: &out}
	if err := v.show(&upgrade.Status{Generations: []upgrade.Generation{{Version: "evil/" + evil}}}); err != nil {
		t.Error(err)
	}
	if err := v.nothing(errors.New("names process 1: "+evil), new(string)); err != nil {
		t.Error(err)
	}
	for _, text := range []string{out.String(), errs.String()} {
		if strings.ContainsAny(text, "\x1b\a\r\u009b") {
			t.Errorf("printed %q", text)
		}
	}
}
