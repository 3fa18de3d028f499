// Package prefix creates an installation prefix: the folder with conf, html,
// logs, temporary folders and sbin that the server runs from.
//
// Nothing that is there already is changed or overwritten, and a file appears
// whole or not at all, so Create can be run again after it failed half way.
package prefix

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// files are copied as they are, but for listenMark.
//
//go:embed files
var files embed.FS

const listenMark = "@LISTEN@"

// Options say what prefix to create.
type Options struct {
	// Dir is the prefix; it is created when it is not there.
	Dir string
	// Listen is the argument of the listen directive: "80", "127.0.0.1:8080".
	// The caller has checked it. "" means 80.
	Listen string
	// Executable is copied to sbin/nginx. "" means that there is none.
	Executable string
	// TempOwner is the user id and the group id that the temporary folders are
	// given to, those of the workers; nil leaves them to whoever creates them.
	TempOwner *[2]int
}

// An Entry is one folder or file of the prefix, by its path in it; folders end
// in a slash.
type Entry struct {
	Path    string
	Created bool // false: it was there, and was left alone
}

// Create creates what is missing. It stops at the first failure and returns
// what it has done and seen until then too.
func Create(o Options) ([]Entry, error) {
	if o.Listen == "" {
		o.Listen = "80"
	}
	var entries []Entry
	add := func(path string, created bool, err error) error {
		if err == nil {
			entries = append(entries, Entry{path, created})
		}
		return err
	}
	if err := makeWay(o.Dir); err != nil {
		return nil, fmt.Errorf("create prefix: %w", err)
	}
	for _, d := range folders() {
		created, err := makeFolder(filepath.Join(o.Dir, d.name), d, o.TempOwner)
		if err := add(d.name+"/", created, err); err != nil {
			return entries, fmt.Errorf("create folder: %w", err)
		}
	}
	for _, name := range []string{
		"conf/nginx.conf", "conf/mime.types", "conf/fastcgi.conf", "conf/fastcgi_params",
		"conf/scgi_params", "conf/uwsgi_params", "html/index.html", "html/50x.html",
	} {
		text, err := files.ReadFile("files/" + name)
		if err != nil {
			return entries, fmt.Errorf("create file: %w", err)
		}
		text = bytes.ReplaceAll(text, []byte(listenMark), []byte(o.Listen))
		created, err := writeNew(filepath.Join(o.Dir, name), bytes.NewReader(text), 0o644)
		if err := add(name, created, err); err != nil {
			return entries, fmt.Errorf("create file: %w", err)
		}
	}
	if o.Executable != "" {
		created, err := copyNew(filepath.Join(o.Dir, "sbin/nginx"), o.Executable)
		if err := add("sbin/nginx", created, err); err != nil {
			return entries, fmt.Errorf("copy executable: %w", err)
		}
	}
	return entries, nil
}

type folder struct {
	name string
	perm fs.FileMode
	temp bool // holds what workers write
}

func folders() []folder {
	all := []folder{{name: "conf"}, {name: "html"}, {name: "logs"}, {name: "sbin"}}
	for i := range all {
		all[i].perm = 0o755
	}
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "scgi", "uwsgi"} {
		// Request bodies lie there: nobody else's business.
		all = append(all, folder{kind + "_temp", 0o700, true})
	}
	return all
}

// makeWay creates a folder and those above it that are not there. Whoever runs the workers
// has to pass them.
func makeWay(path string) error {
	err := os.Mkdir(path, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
		}
		return err
	case (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)) && filepath.Dir(path) != path:
		if err := makeWay(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o755)
	}
	if err != nil {
		return err
	}
	return allow(path, 0o755)
}

// allow gives a folder that was just made its mode, whatever the umask is. That it may have
// got the group of the folder above is kept.
func allow(path string, perm fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Chmod(path, perm|info.Mode()&fs.ModeSetgid)
}

// makeFolder reports whether it made path; a folder that is there is left as it is.
func makeFolder(path string, d folder, owner *[2]int) (bool, error) {
	err := os.Mkdir(path, d.perm)
	if errors.Is(err, fs.ErrExist) {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
		}
		return false, err
	}
	if err == nil {
		err = allow(path, d.perm)
	}
	if err == nil && d.temp && owner != nil {
		err = os.Lchown(path, owner[0], owner[1])
	}
	return err == nil, err
}

func copyNew(path, from string) (bool, error) {
	f, err := os.Open(from)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return writeNew(path, f, 0o755)
}

// writeNew creates path with the content of r and reports true, or leaves what
// is there as it is and reports false. Path never names a file half written.
func writeNew(path string, r io.Reader, perm fs.FileMode) (created bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		return false, nil // renameNew finds it too, but only after a copy for nothing
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return false, err
	}
	defer func() {
		if !created {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = io.Copy(tmp, r)
	if err == nil {
		err = tmp.Chmod(perm)
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return false, err
	}
	err = renameNew(tmp.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// renameNew renames from to path, or fails with [fs.ErrExist] when path is there.
func renameNew(from, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err == nil || errors.Is(err, unix.EEXIST) {
		return err
	}
	// Some file systems do not know RENAME_NOREPLACE (EINVAL, renameat2(2)); a
	// second name for the file refuses an existing one everywhere.
	if err := os.Link(from, path); err != nil {
		return err
	}
	return os.Remove(from)
}
