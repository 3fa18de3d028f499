package sock

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseList returns the descriptors of nginx's environment variable NGINX, a
// list of numbers each followed by ";" (or ":"). On a bad number it returns
// those before it and nginx's error, as nginx does, which goes on with them.
func ParseList(value string) ([]int, error) {
	var fds []int
	for rest := value; ; {
		i := strings.IndexAny(rest, ";:")
		if i < 0 {
			// What follows the last separator is not part of the list.
			return fds, nil
		}
		fd, err := strconv.Atoi(rest[:i])
		if err != nil || fd < 0 || rest[0] == '+' || rest[0] == '-' {
			return fds, fmt.Errorf("invalid socket number %q in NGINX environment variable, ignoring the rest of the variable", rest[:i])
		}
		fds = append(fds, fd)
		rest = rest[i+1:]
	}
}

// FormatList is the inverse of [ParseList]: n descriptors from first up.
func FormatList(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d;", first+i)
	}
	return b.String()
}

// Activated returns the descriptors that systemd passed to process pid, from
// the values of LISTEN_PID and LISTEN_FDS, or nil.
func Activated(pid int, listenPid, listenFDs string) []int {
	if p, err := strconv.Atoi(listenPid); err != nil || p != pid {
		return nil
	}
	n, err := strconv.Atoi(listenFDs)
	if err != nil || n < 1 || n > 1<<16 {
		return nil
	}
	fds := make([]int, n)
	for i := range fds {
		fds[i] = 3 + i // SD_LISTEN_FDS_START, sd_listen_fds(3)
	}
	return fds
}
