package upgrade

import (
	"io"
	"os"
	"regexp"
	"strings"
)

// An errorLog is the file that a master's standard error goes to, which is its error
// log, from a certain place on.
type errorLog struct {
	path string // "" when it is no file
	from int64
}

// findErrorLog returns the error log of a master as it is now.
func findErrorLog(master int) errorLog {
	path, err := os.Readlink(procPath(master, "fd", "2"))
	if err != nil {
		return errorLog{}
	}
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return errorLog{}
	}
	return errorLog{path, fi.Size()}
}

// troubleLine is a line of level warn or above, in nginx's format.
var troubleLine = regexp.MustCompile(`\[(warn|error|crit|alert|emerg)\]`)

// trouble returns the last lines since then that tell of trouble, at most n, and
// without any such the last ones of any kind.
func (l errorLog) trouble(n int) []string {
	all := l.since()
	var bad []string
	for _, line := range all {
		if troubleLine.MatchString(line) {
			bad = append(bad, line)
		}
	}
	if len(bad) > 0 {
		all = bad
	}
	return all[max(0, len(all)-n):]
}

// since returns the lines since then; of many the last ones.
func (l errorLog) since() (lines []string) {
	if l.path == "" {
		return nil
	}
	f, err := os.Open(l.path)
	if err != nil {
		return nil
	}
	defer f.Close()
	const enough = 64 << 10
	if fi, err := f.Stat(); err != nil || fi.Size() < l.from {
		l.from = 0 // it was rotated
	} else if fi.Size()-l.from > enough {
		l.from = fi.Size() - enough
	}
	text, err := io.ReadAll(io.NewSectionReader(f, l.from, enough))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}
