package upgrade

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// checksum returns the SHA-256 of a file.
func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
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
func stage(from, path, like, sum string) (staged string, err error) {
	staged = stagedPath(path)
	// Left by somebody who was killed; we hold the lock.
	if exists(staged) {
		if err := os.Remove(staged); err != nil {
			return "", fmt.Errorf("remove what an earlier upgrade left: %w", err)
		}
	}
	defer func() {
		if err != nil {
			os.Remove(staged)
		}
	}()
	if err := copyWhole(from, staged); err != nil {
		return "", fmt.Errorf("copy %s: %w", from, err)
	}
	if err := dress(staged, like); err != nil {
		return "", err
	}
	return staged, sameSum(staged, sum)
}

// copyWhole copies a file to a new one and returns when it is on disk.
func copyWhole(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	// A process that is forked while a file is open for writing has it open, too,
	// until it executes something; executing the file fails until then (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// dress gives path the owner, mode and security attributes (file capabilities, the
// label of SELinux) of like. In this order: a change of owner takes capabilities and
// set-user-ID away.
func dress(path, like string) error {
	fi, err := os.Stat(like)
	if err != nil {
		return fmt.Errorf("look at %s: %w", like, err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("keep owner: %w", err)
	}
	if err := os.Chmod(path, fi.Mode()); err != nil {
		return fmt.Errorf("keep mode: %w", err)
	}
	for _, name := range []string{"security.capability", "security.selinux"} {
		value, err := attribute(like, name)
		if err != nil {
			return fmt.Errorf("keep %s of %s: %w", name, like, err)
		}
		if value == nil {
			continue
		}
		if have, err := attribute(path, name); err == nil && bytes.Equal(have, value) {
			continue // a new file has the label of its folder, which only some may change
		}
		if err := unix.Setxattr(path, name, value, 0); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	return nil
}

// sameCapabilities reports whether two files have the same ones, or none.
func sameCapabilities(a, b string) bool {
	const name = "security.capability"
	x, errX := attribute(a, name)
	y, errY := attribute(b, name)
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

// sameSum makes sure that the file at path has the checksum sum.
func sameSum(path, sum string) error {
	have, err := checksum(path)
	if err != nil {
		return err
	}
	if have != sum {
		return fmt.Errorf("%s is not what was copied to it", path)
	}
	return nil
}

// sameBytes reports whether two files can be read and hold the same.
func sameBytes(a, b string) bool {
	const compareBytes = 64 << 10
	var files [2]*bufio.Reader
	var size [2]int64
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
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
		err = copyChecked(image, temp)
	}
	if err == nil {
		err = moveTo(temp, backup)
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return nil
}

// copyChecked copies a file, its owner, mode and attributes to a new one, and makes sure
// that the copy is the same.
func copyChecked(from, to string) error {
	if err := copyWhole(from, to); err != nil {
		return err
	}
	if err := dress(to, from); err != nil {
		return err
	}
	sum, err := checksum(from)
	if err != nil {
		return err
	}
	return sameSum(to, sum)
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
