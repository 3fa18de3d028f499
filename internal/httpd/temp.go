package httpd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"golang.org/x/sys/unix"
)

// A TempPath is where temporary files are created: a folder, and folders in it that
// are named by the last digits of a file's number, so that none becomes too large.
type TempPath struct {
	Dir string
	// Levels are how many digits name the folders of each level; 0 ends them.
	Levels [3]uint8
}

// TempPath reads the directive called name; def is the folder without it.
func (b *Builder) TempPath(s *conf.Scope, name, def string) (TempPath, error) {
	d := s.One(name)
	if d == nil {
		return TempPath{Dir: b.Config.Abs(def)}, nil
	}
	p := TempPath{Dir: b.Config.Abs(strings.TrimSuffix(d.Arg(0), "/"))}
	for i := range p.Levels {
		if d.Arg(i+1) == "" {
			break
		}
		n, err := conf.ParseNumber(d.Arg(i + 1))
		if err != nil {
			return p, conf.Errorf(d, "\"%s\" directive invalid value", name)
		}
		p.Levels[i] = uint8(min(n, tempDigits))
	}
	return p, nil
}

// tempDigits is how many digits the name of a temporary file has.
const tempDigits = 10

// file returns the full name of the file with that number, and the folders of its
// levels, outermost first.
func (p *TempPath) file(number uint64) (name string, folders []string) {
	digits := strconv.FormatUint(number, 10)
	digits = strings.Repeat("0", max(tempDigits-len(digits), 0)) + digits
	dir, left := p.Dir, digits
	for _, n := range p.Levels {
		if n == 0 || int(n) > len(left) {
			break
		}
		dir += "/" + left[len(left)-int(n):]
		left = left[:len(left)-int(n)]
		folders = append(folders, dir)
	}
	return dir + "/" + digits, folders
}

// tempTries is how many names that are taken are passed over.
const tempTries = 100

// CreateTemp creates a temporary file that ends with its descriptor, which is the
// caller's: the file has lost its name, which is for the log, when CreateTemp
// returns. An error is in nginx's words.
func (r *Request) CreateTemp(p *TempPath) (fd int, name string, err error) {
	for range tempTries {
		if fd, name, err = r.tryTemp(p, 1); err == nil {
			_ = unix.Unlink(name)
			return fd, name, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	return -1, name, err
}

// CreateKept is [Request.CreateTemp] of a file that keeps its name. Who ran before may have
// left many behind: the numbers go on elsewhere where one is taken.
func (r *Request) CreateKept(p *TempPath) (fd int, name string, err error) {
	step := uint64(1)
	for range tempTries {
		if fd, name, err = r.tryTemp(p, step); !errors.Is(err, unix.EEXIST) {
			break
		}
		step = 1 + rand.Uint64N(maxTempStep)
	}
	return fd, name, err
}

// maxTempStep bounds how many numbers are passed over at once.
const maxTempStep = 10_000_000

// tryTemp creates the file that comes step numbers behind the last one.
func (r *Request) tryTemp(p *TempPath, step uint64) (fd int, name string, err error) {
	name, folders := p.file(r.c.srv.temps.Add(step))
	fd, err = createTemp(name, folders)
	return fd, name, err
}

func createTemp(name string, folders []string) (int, error) {
	fd, err := openTemp(name)
	if err == unix.ENOENT && len(folders) > 0 {
		for _, dir := range folders {
			if err := unix.Mkdir(dir, 0o700); err != nil && err != unix.EEXIST {
				return -1, tempError("mkdir", dir, err)
			}
		}
		fd, err = openTemp(name)
	}
	if err != nil {
		return -1, tempError("open", name, err)
	}
	return fd, nil
}

func openTemp(name string) (int, error) {
	for {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// tempError is a failure of a call about a temporary file, in nginx's words.
func tempError(call, name string, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	return &namedError{fmt.Sprintf("%s() \"%s\" failed %s", call, name, errorlog.Errno(errno)), err}
}

// A namedError has a text of its own.
type namedError struct {
	text  string
	cause error
}

func (e *namedError) Error() string { return e.text }
func (e *namedError) Unwrap() error { return e.cause }
