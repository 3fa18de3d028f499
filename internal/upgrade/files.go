package upgrade

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// checksum returns the SHA-256 of a file.
func checksum(path string) (string, error) {
	f, err := proc.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return sumOf(f)
}

// sumOf is checksum for a file that is open.
func sumOf(f *os.File) (string, error) {
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, fi.Size())); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// stagedPath is where a new binary lies before it is renamed to path. In the same
// folder, so that the rename is one instant, and so that a binary that looks for its
// files from where it lies finds there what it will find later.
func stagedPath(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

// stage copies from, which has the checksum sum, to the staged path of path, with
// owner, mode, capabilities and label of like, which is what runs: what lies at path may
// have lost them, when a package put it there. The file that runs is never written to:
// what is executed cannot be.
func stage(from *os.File, path, like, sum string) (staged string, err error) {
	staged = stagedPath(path)
	if err := copyChecked(from, staged, like, sum); err != nil {
		return "", err
	}
	return staged, nil
}

// copyChecked copies a file that has the checksum sum to a new one of the name to, with what
// like has besides its content. What has that name was left by somebody who was killed.
func copyChecked(from *os.File, to, like, sum string) (err error) {
	if err := os.Remove(to); err != nil && !isMissing(err) {
		return fmt.Errorf("remove what an earlier upgrade left: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(to)
		}
	}()
	// A process that is forked while a file is open for writing has it open, too,
	// until it executes something; executing the file fails until then (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from.Name(), err)
	}
	err = fill(out, from, sum)
	if err == nil {
		err = dress(out, like)
	}
	if err = errors.Join(err, out.Close()); errors.Is(err, errNoGrant) {
		if rerr := os.Remove(to); rerr != nil {
			return rerr
		}
		return grant(from, to, like, sum, err)
	}
	return err
}

// fill copies a file into a new one, and makes sure that what it was is on disk.
func fill(out, from *os.File, sum string) error {
	fi, err := from.Stat()
	if err == nil {
		_, err = io.Copy(out, io.NewSectionReader(from, 0, fi.Size()))
	}
	if err == nil {
		err = out.Sync()
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from.Name(), err)
	}
	if have, err := sumOf(out); err != nil || have != sum {
		return errors.Join(err, fmt.Errorf("%s is not what was copied to it", out.Name()))
	}
	return nil
}

// errNoGrant says that only root may give a file what it has to get.
var errNoGrant = errors.New("only root can give it the file capabilities that the running one has: do it as root")

// dress gives a file the owner, mode and security attributes (file capabilities, the
// label of SELinux) of like. In this order: a change of owner takes capabilities and
// set-user-ID away.
func dress(f *os.File, like string) error {
	fi, err := os.Stat(like)
	if err != nil {
		return fmt.Errorf("look at %s: %w", like, err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	// Whoever may replace a file in a folder of his need not be able to give his own away.
	special := fi.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0
	if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil && (special || !errors.Is(err, unix.EPERM)) {
		return fmt.Errorf("keep owner: %w", err)
	}
	if err := f.Chmod(fi.Mode()); err != nil {
		return fmt.Errorf("keep mode: %w", err)
	}
	fd, err := proc.FD(f)
	if err != nil {
		return err
	}
	for _, name := range []string{capabilities, "security.selinux"} {
		value, err := attribute(like, name)
		if err != nil {
			return fmt.Errorf("keep %s of %s: %w", name, like, err)
		}
		if value == nil {
			continue
		}
		if have, err := attribute(descriptorPath(fd), name); err == nil && bytes.Equal(have, value) {
			continue // a new file has the label of its folder, which only some may change
		}
		if err := unix.Fsetxattr(fd, name, value, 0); name == capabilities && errors.Is(err, unix.EPERM) {
			return errNoGrant
		} else if err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	return nil
}

const capabilities = "security.capability"

// grant does what copyChecked could not, with the rights that root has given up, and in
// the only case where the user gets nothing by it that is not the user's already: like is
// the user's, and on the same file system, so that its capabilities count as much. The file
// has no name until all is in it, so that nobody else has ever had it open for writing.
func grant(from *os.File, to, like, sum string, denied error) error {
	folder, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer folder.Close()
	uid, fd := os.Geteuid(), -1
	proc.Aside(func() { fd, err = granted(from, folder, like, sum, uid) })
	if err != nil {
		return fmt.Errorf("%w: %w", denied, err)
	}
	defer unix.Close(fd)
	if err := unix.Linkat(unix.AT_FDCWD, descriptorPath(fd), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.PathError{Op: "link", Path: to, Err: err}
	}
	return nil
}

// granted makes the file of [grant] and returns its descriptor.
func granted(from, folder *os.File, like, sum string, uid int) (fd int, err error) {
	var there, running unix.Stat_t
	in, err := proc.FD(folder)
	if err == nil {
		err = errors.Join(unix.Fstat(in, &there), unix.Stat(like, &running))
	}
	switch {
	case err != nil:
		return -1, err
	case os.Geteuid() != 0:
		return -1, fs.ErrPermission
	case int(running.Uid) != uid || running.Dev != there.Dev:
		return -1, fmt.Errorf("the running one is not user %d's, or not on this file system", uid)
	}
	fd, err = unix.Openat(in, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o700)
	if err != nil {
		return -1, fmt.Errorf("create a file: %w", err)
	}
	kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	out := os.NewFile(uintptr(fd), "the copy")
	if err = fill(out, from, sum); err == nil {
		err = dress(out, like)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		unix.Close(kept)
		return -1, err
	}
	return kept, nil
}

// sameCapabilities reports whether two files have the same ones, or none.
func sameCapabilities(a, b string) bool {
	x, errX := attribute(a, capabilities)
	y, errY := attribute(b, capabilities)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// attribute returns an extended attribute of a file; nil when it has none.
func attribute(path, name string) ([]byte, error) {
	value := make([]byte, 4096)
	n, err := unix.Getxattr(path, name, value)
	switch {
	case errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return value[:n], nil
}

// backupPath names the copy of path that is kept of a version: nginx.baton-1.0.0.
func backupPath(path, version, sum string) string {
	plain := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, version)
	if plain == "" {
		plain = sum[:8]
	}
	return path + "." + plain
}

// sameBytes reports whether two files can be read and hold the same.
func sameBytes(a, b string) bool {
	const compareBytes = 64 << 10
	var files [2]*bufio.Reader
	var size [2]int64
	for i, path := range []string{a, b} {
		f, err := proc.OpenRegular(path, os.O_RDONLY)
		if err != nil {
			return false
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return false
		}
		files[i], size[i] = bufio.NewReaderSize(f, compareBytes), fi.Size()
	}
	for size[0] == size[1] {
		x, errX := files[0].Peek(compareBytes)
		y, errY := files[1].Peek(compareBytes)
		if !bytes.Equal(x, y) || errX != errY {
			return false
		}
		if errX != nil {
			return errX == io.EOF
		}
		_, _ = files[0].Discard(len(x))
		_, _ = files[1].Discard(len(y))
	}
	return false
}

// planBackup returns where the running image is kept beside path.
func planBackup(path, image, version string) (string, error) {
	sum, err := checksum(image)
	if err != nil {
		return "", fmt.Errorf("look at what runs: %w", err)
	}
	backup := backupPath(path, version, sum)
	if have, err := checksum(backup); err == nil && have != sum {
		backup += "." + sum[:8] // another build that calls itself the same
	}
	return backup, nil
}

// backUp keeps the running image as backup. image is its link in /proc, which leads to
// it whatever became of the file. When path is the image the backup is a second name
// for the same file, so that nothing of it can get lost.
func backUp(path, image, backup string) error {
	temp := backup + ".new"
	if err := os.Remove(temp); err != nil && !isMissing(err) {
		return fmt.Errorf("back up: %w", err)
	}
	running, err := identify(image)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if id, err := identify(backup); err == nil && id == running {
		return nil
	}
	linked := false
	if id, err := identify(path); err == nil && id == running {
		linked = os.Link(path, temp) == nil // not every file system has links
	}
	if !linked {
		err = copyImage(image, temp)
	}
	if err == nil {
		err = moveTo(temp, backup)
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return nil
}

// copyImage copies what runs to a new file.
func copyImage(image, to string) error {
	from, err := proc.OpenRegular(image, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	sum, err := sumOf(from)
	if err != nil {
		return err
	}
	return copyChecked(from, to, image, sum)
}

// moveTo renames from to path, and returns when that is on disk. Between two names
// for one file rename(2) does nothing, and one of them is left.
func moveTo(from, path string) error {
	a, errA := identify(from)
	b, errB := identify(path)
	if errA == nil && errB == nil && a == b {
		if err := os.Remove(from); err != nil {
			return err
		}
		return syncFolder(filepath.Dir(path))
	}
	if err := os.Rename(from, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}
