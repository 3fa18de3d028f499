package upgrade

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/baton-deploy/baton/internal/proc"
)

const (
	masterTitle   = ": master process "
	workerTitle   = ": worker process"
	retiringTitle = ": worker process is shutting down"
)

func (p process) isMaster() bool { return strings.Contains(p.title, masterTitle) }

func (p process) isWorker() bool {
	return strings.HasSuffix(p.title, workerTitle) || p.isRetiring()
}

func (p process) isRetiring() bool { return strings.HasSuffix(p.title, retiringTitle) }

// originalArgv returns the arguments that a master was started with. Baton keeps
// them apart behind its title. nginx writes one string over them, from which they
// are guessed: file tells which words are files, so that a path with a blank in it
// is found.
func originalArgv(argv []string, file func(path string) bool) []string {
	if len(argv) == 0 {
		return nil
	}
	if len(argv) > 1 {
		original, _ := proc.OriginalArgv(argv)
		return original
	}
	_, line, _ := strings.Cut(argv[0], masterTitle)
	words := strings.Split(line, " ")
	first := 1
	for n := 1; n <= len(words); n++ {
		if file(strings.Join(words[:n], " ")) {
			first = n
			break
		}
	}
	return append([]string{strings.Join(words[:first], " ")}, joinArguments(words[first:])...)
}

// joinArguments puts together what was one argument: after an option of nginx that
// takes one, all words up to the next that looks like an option are its argument.
func joinArguments(words []string) []string {
	var args []string
	open := false // the last argument may go on
	for _, w := range words {
		option := len(w) > 1 && w[0] == '-'
		switch {
		case option:
			args = append(args, w)
			// What follows belongs to the option's own word when that has its
			// argument glued to it, and starts a new one when it has not.
			open = strings.ContainsAny(w[1:len(w)-1], "cpegs")
		case open:
			args[len(args)-1] += " " + w
		default:
			args = append(args, w)
			open = true
		}
	}
	return args
}

// executable returns the file that a master started as argv0 in the folder dir
// executes on USR2, as an absolute path. Baton looks a bare name up in path, as a
// shell does; nginx takes it for a file in dir.
func executable(argv0, dir, path string, searches bool) string {
	switch {
	case filepath.IsAbs(argv0):
		return filepath.Clean(argv0)
	case strings.Contains(argv0, "/") || !searches:
		return filepath.Join(dir, argv0)
	}
	for _, d := range filepath.SplitList(path) {
		file := filepath.Join(d, argv0)
		if fi, err := os.Stat(file); filepath.IsAbs(file) && err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return file
		}
	}
	return filepath.Join(dir, argv0)
}
