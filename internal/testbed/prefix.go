package testbed

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Welcome is the text on the first page of a prefix.
const Welcome = "Welcome to the testbed!"

// A Prefix is an installation in a folder: conf, html, logs, sbin and the
// folders for temporary files, as nginx lays them out.
type Prefix struct {
	Dir string
}

// NewPrefix lays out a prefix in dir, which must exist. Workers that run as
// another user can read it.
func NewPrefix(dir string) (*Prefix, error) {
	p := &Prefix{Dir: dir}
	err := os.Chmod(dir, 0o755)
	for _, name := range []string{
		"conf", "html", "logs", "sbin", "client_body_temp", "proxy_temp",
		"fastcgi_temp", "scgi_temp", "uwsgi_temp",
	} {
		err = errors.Join(err, os.Mkdir(p.Path(name), 0o755))
	}
	page := "<!DOCTYPE html>\n<title>" + Welcome + "</title>\n<h1>" + Welcome + "</h1>\n"
	err = errors.Join(err, os.WriteFile(p.Path("html", "index.html"), []byte(page), 0o644))
	if err != nil {
		return nil, fmt.Errorf("lay out prefix: %w", err)
	}
	return p, nil
}

// Path returns the path of a file under the prefix.
func (p *Prefix) Path(elem ...string) string {
	return filepath.Join(append([]string{p.Dir}, elem...)...)
}

// Binary is the path that a server binary is installed at.
func (p *Prefix) Binary() string { return p.Path("sbin", "nginx") }

// ConfFile is the path of the configuration.
func (p *Prefix) ConfFile() string { return p.Path("conf", "nginx.conf") }

// PIDFile is the path of the pid file; an upgrade renames it to OldbinFile.
func (p *Prefix) PIDFile() string { return p.Path("logs", "nginx.pid") }

// OldbinFile is the path of the old master's pid file during an upgrade.
func (p *Prefix) OldbinFile() string { return p.PIDFile() + ".oldbin" }

// ErrorLog is the path of the error log.
func (p *Prefix) ErrorLog() string { return p.Path("logs", "error.log") }

// Install puts a copy of binary in place as "cp -f" does when the target is
// being executed: the old file is unlinked and a new one created.
func (p *Prefix) Install(binary string) error {
	if err := os.Remove(p.Binary()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("install %s: %w", binary, err)
	}
	if err := copyFile(p.Binary(), binary); err != nil {
		return fmt.Errorf("install %s: %w", binary, err)
	}
	return nil
}

// copyFile copies a file and its permissions; to must not exist.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	// What is forked meanwhile has the file open for writing until it executes
	// something, and the file cannot be executed until then.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// WriteConf writes the configuration.
func (p *Prefix) WriteConf(c Conf) error {
	if err := os.WriteFile(p.ConfFile(), []byte(c.String()), 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// PID returns the process id in the pid file.
func (p *Prefix) PID() (int, error) { return readPID(p.PIDFile()) }

// OldPID returns the process id in the old master's pid file.
func (p *Prefix) OldPID() (int, error) { return readPID(p.OldbinFile()) }

func readPID(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read pid file: %w", err)
	}
	line, ended := strings.CutSuffix(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || !ended || pid < 1 {
		return 0, fmt.Errorf("read pid file: %s holds %q", path, text)
	}
	return pid, nil
}

// A Conf is a configuration that nginx and Baton both take: the welcome page
// at /, an empty answer to any method at /post, and a proxy at /backend/.
type Conf struct {
	Listen  []string // each as after the word listen; at least one
	Workers int      // 0 means 2
	User    string   // that workers run as if the master is root; "" says nothing
	Backend string   // host:port that /backend/ goes to; "" means no such place
	Main    string   // directives for the top level
	HTTP    string   // directives for http
	Server  string   // directives for the server
}

// String returns the text of the configuration.
func (c Conf) String() string {
	var b strings.Builder
	if c.User != "" {
		fmt.Fprintf(&b, "user %s;\n", c.User)
	}
	fmt.Fprintf(&b, "worker_processes %d;\npid logs/nginx.pid;\nerror_log logs/error.log notice;\n%s\n", or(c.Workers, 2), c.Main)
	b.WriteString("events {\n    worker_connections 1024;\n}\n\nhttp {\n")
	fmt.Fprintf(&b, "    access_log logs/access.log;\n    keepalive_timeout 30s; keepalive_requests 1000000000;\n    %s\n", c.HTTP)
	b.WriteString("    server {\n")
	for _, listen := range c.Listen {
		fmt.Fprintf(&b, "        listen %s;\n", listen)
	}
	fmt.Fprintf(&b, "        root html;\n        index index.html;\n        %s\n", c.Server)
	b.WriteString("        location = /post {\n            return 200;\n        }\n")
	if c.Backend != "" {
		fmt.Fprintf(&b, `        location /backend/ {
            proxy_pass http://%s/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
`, c.Backend)
	}
	b.WriteString("    }\n}\n")
	return b.String()
}

// PackageUser returns the user that the system's nginx was packaged to run as,
// "" when this process is not root or there is none. A configuration for that
// nginx must name it: its temporary folders are the system's, and at every
// start nginx gives them to the user that it is configured to run as.
func PackageUser() string {
	if os.Getuid() != 0 {
		return ""
	}
	for _, name := range []string{"www-data", "nginx"} {
		if _, err := user.Lookup(name); err == nil {
			return name
		}
	}
	return ""
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
