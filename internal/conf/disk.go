package conf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// readDisk returns the content of a file, or an error in nginx's words.
func readDisk(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fileError("open", name, err)
	}
	defer f.Close()
	// Not os.ReadFile: a device or a pipe named by mistake must not be read for ever.
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fileError("pread", name, err)
	}
	return data, nil
}

// A fileFault is a file that cannot be read. nginx reports one that opens and does
// not read, a folder, at another level and without the place that named it.
type fileFault struct {
	call, name string
	errno      syscall.Errno
}

func (e *fileFault) Error() string {
	// nginx prints strerror's text, which begins with a capital letter; Go's does not.
	text := e.errno.Error()
	return fmt.Sprintf("%s() \"%s\" failed (%d: %s)", e.call, e.name, int(e.errno), strings.ToUpper(text[:1])+text[1:])
}

func (e *fileFault) Unwrap() error { return e.errno }

// at returns the fault as an error that stands where d is; d may be nil.
func (e *fileFault) at(d *Directive) *Error {
	if e.call == "pread" {
		return &Error{Level: "crit", Msg: e.Error()}
	}
	return Errorf(d, "%s", e.Error())
}

func fileError(call, name string, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("%s %s: %w", call, name, err)
	}
	return &fileFault{call: call, name: name, errno: errno}
}

// isPattern reports whether nginx takes the name in an include for a pattern.
func isPattern(name string) bool { return strings.ContainsAny(name, "*?[") }

// matchDisk returns the existing names that match pattern, sorted by bytes, as
// glob(3) finds them. Not path/filepath's Glob: there "*" matches hidden files,
// and a set is negated by "^" only.
func matchDisk(pattern string) []string {
	pattern = strings.ReplaceAll(pattern, "[!", "[^")
	found := []string{""}
	for i, part := range strings.Split(pattern, "/") {
		var next []string
		for _, dir := range found {
			if i > 0 {
				dir += "/"
			}
			next = append(next, matchPart(dir, part)...)
		}
		found = next
	}
	if !isPattern(pattern) {
		return found
	}
	found = slices.DeleteFunc(found, func(name string) bool {
		_, err := os.Lstat(name)
		return err != nil
	})
	slices.Sort(found)
	return found
}

// matchPart returns dir joined with each of its entries that match part.
func matchPart(dir, part string) []string {
	if !isPattern(part) {
		return []string{dir + part}
	}
	where := dir
	if where == "" {
		where = "."
	}
	entries, err := os.ReadDir(where)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".") {
			continue
		}
		ok, err := path.Match(part, name)
		if err != nil {
			ok = part == name // an open "[" stands for itself
		}
		if ok {
			names = append(names, dir+name)
		}
	}
	return names
}
