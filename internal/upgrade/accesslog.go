package upgrade

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxLog is how much of the end of an access log is read.
	maxLog = 1 << 20
	// fewAnswers are too few to compare shares.
	fewAnswers = 20
	// moreErrors is by how much the share of 5xx may grow: what is rare comes in
	// bursts, and a soak is short.
	moreErrors = 0.05
)

// A logPlace is a place in a log.
type logPlace struct {
	file *os.File
	at   int64
}

// accessLogs returns the ends of the access logs that a master has open: all files
// that it appends to, but its error log. Lines that are no answers are not counted, so
// another file does no harm.
func accessLogs(master process) (logs []logPlace) {
	var names []string
	err := lookInto(master.pid, func(dir string) error {
		all, err := os.ReadDir(dir + "/fd")
		for _, n := range all {
			if appends(dir, n.Name()) {
				names = append(names, n.Name())
			}
		}
		return err
	})
	if err != nil {
		return nil
	}
	notThis := findErrorLog(master).file
	for _, n := range names {
		f, err := master.openFile("fd/" + n)
		if err != nil {
			continue // closed meanwhile, or no file
		}
		fi, err := f.Stat()
		known := slices.ContainsFunc(logs, func(l logPlace) bool { return isSame(l.file, f) })
		if err != nil || known || notThis != nil && isSame(notThis, f) {
			f.Close()
			continue
		}
		logs = append(logs, logPlace{f, fi.Size()})
	}
	return logs
}

// appends reports whether a descriptor of the process whose folder in /proc is dir writes
// to the end of its file.
func appends(dir, fd string) bool {
	text, err := os.ReadFile(dir + "/fdinfo/" + fd)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if octal, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(octal), 8, 64)
			return err == nil && flags&unix.O_APPEND != 0
		}
	}
	return false
}

// answers counts what logs tell of.
type answers struct{ all, failed int }

func (a answers) share() float64 { return float64(a.failed) / float64(max(1, a.all)) }

// statusField is where nginx's usual formats have the status: behind the request.
var statusField = regexp.MustCompile(`" ([1-5])\d\d `)

// count counts the answers in l between two places, of long stretches the end.
func (a *answers) count(l logPlace, from, to int64) {
	from = max(from, to-maxLog, 0)
	text, err := io.ReadAll(io.NewSectionReader(l.file, from, to-from))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		if m := statusField.FindStringSubmatch(line); m != nil {
			a.all++
			if m[1] == "5" {
				a.failed++
			}
		}
	}
}

// countNew counts what came to l since it was noted.
func (a *answers) countNew(l logPlace) {
	if fi, err := l.file.Stat(); err == nil && fi.Size() >= l.at {
		a.count(l, l.at, fi.Size())
	}
}

// checkAnswers compares the share of 5xx in the soak with what it was before the
// upgrade.
func checkAnswers(was, is answers) error {
	if is.all < fewAnswers || is.share() <= was.share()+moreErrors {
		return nil
	}
	return fmt.Errorf("%.0f%% of %d answers in the soak are 5xx, and %.0f%% were before",
		100*is.share(), is.all, 100*was.share())
}
