package upgrade

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Releases lie in folders of their own, and a link leads to one of them: to the folder
// (current → releases/1), or to the file (nginx → nginx-1.0.0). Another release is put in
// place by moving that link, and what was released stays what it was.

// A link is a symbolic link on the way to a file.
type link struct {
	path string // without links in it, but for itself
	text string // where it leads
	rest string // what comes behind it on the way; "" when it leads to the file itself
}

// wayTo returns the links on the way to a file, and its name without any.
func wayTo(path string) (links []link, real string, err error) {
	const most = 40 // as many as the kernel follows
	real, rest := "/", strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		here := filepath.Join(real, name) // ".." is of what is real
		text, err := os.Readlink(here)
		if errors.Is(err, unix.EINVAL) {
			real = here // no link
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if len(links) == most {
			return nil, "", &os.PathError{Op: "follow", Path: path, Err: unix.ELOOP}
		}
		links = append(links, link{here, text, strings.Join(rest, "/")})
		if filepath.IsAbs(text) {
			real = "/"
		}
		rest = append(strings.Split(strings.Trim(text, "/"), "/"), rest...)
	}
	return links, real, nil
}

// release returns the folder or file that l has to lead to for the way to end at real; ""
// when no place does that.
func (l link) release(real string) string {
	if l.rest == "" {
		return real
	}
	if folder, ok := strings.CutSuffix(real, "/"+l.rest); ok {
		return folder
	}
	return ""
}

// leadingTo returns the text with which l leads from the release was to the release is,
// written as its text is written; "" when they do not lie beside each other.
func (l link) leadingTo(was, is string) string {
	switch {
	case was == "" || is == "" || was == is || filepath.Dir(was) != filepath.Dir(is):
		return ""
	case filepath.Base(l.text) == filepath.Base(was):
		return strings.TrimSuffix(l.text, filepath.Base(was)) + filepath.Base(is)
	}
	return is
}

// planLink finds out whether the binary is put in place by moving a link, and fills in the
// record. to is the new binary's name without links.
func (op *operation) planLink(to string) bool {
	r := &op.record
	links, real, err := wayTo(op.old.binary)
	if err != nil {
		return false
	}
	for _, l := range slices.Backward(links) {
		from, text := real, l.leadingTo(l.release(real), l.release(to))
		back := l.text
		if to == real {
			// Somebody has moved it already: it led to what runs, if that is still there.
			if id, err := identify(op.old.exe); err != nil || id != op.old.image {
				return false
			}
			from, text = op.old.exe, l.text
			back = l.leadingTo(l.release(real), l.release(op.old.exe))
		}
		if text == "" || back == "" {
			continue
		}
		r.Binary, r.Backup = op.old.binary, from
		r.Link, r.LinkFrom, r.LinkTo = l.path, back, text
		return true
	}
	return false
}

// moveLink makes the link at path lead to text, in one instant.
func moveLink(path, text string) error {
	if now, err := os.Readlink(path); err != nil {
		return fmt.Errorf("move link: %w", err)
	} else if now == text {
		return nil
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.Remove(temp); err != nil && !isMissing(err) {
		return fmt.Errorf("move link: %w", err)
	}
	err := os.Symlink(text, temp)
	if err == nil {
		if err = os.Rename(temp, path); err != nil {
			os.Remove(temp)
		}
	}
	if err != nil {
		return fmt.Errorf("move link: %w", err)
	}
	return syncFolder(filepath.Dir(path))
}

// restoreLink has the link lead to the old release again.
func (r *record) restoreLink() (string, error) {
	now, err := os.Readlink(r.Link)
	switch {
	case err != nil:
		return "", fmt.Errorf("look at the link: %w", err)
	case now == r.LinkFrom:
		return fmt.Sprintf("%s leads to %s", r.Link, now), nil // it had not been moved
	case now != r.LinkTo:
		return "", fmt.Errorf("%s leads to %s, which is neither the old release nor the new one", r.Link, now)
	}
	return fmt.Sprintf("%s leads to %s again", r.Link, r.LinkFrom), moveLink(r.Link, r.LinkFrom)
}
