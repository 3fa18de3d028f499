package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
)

// testConfig does -t and -T and returns the exit status. Its two lines go to
// stderr, the dump to stdout.
func (p *program) testConfig(o options) int {
	log, closeLog := p.startLog(errorlog.Info)
	defer closeLog()
	path := p.paths.full(p.paths.conf)
	cfg, err := p.load(o)
	if late, ok := errors.AsType[*conf.Error](err); err == nil || ok && late.Late {
		for _, w := range cfg.Warnings {
			log.Warn(w)
		}
		if !o.quiet {
			fmt.Fprintf(p.stderr, "%s: the configuration file %s syntax is ok\n", p.word, path)
		}
	}
	if err == nil {
		err = checkSystem(cfg)
	}
	if err != nil {
		logFailure(log, err)
		fmt.Fprintf(p.stderr, "%s: configuration file %s test failed\n", p.word, path)
		return 1
	}
	if !o.quiet {
		fmt.Fprintf(p.stderr, "%s: configuration file %s test is successful\n", p.word, path)
	}
	if o.dump {
		if _, err := p.stdout.Write(cfg.Dump()); err != nil {
			fmt.Fprintf(p.stderr, "%s: write dump: %v\n", p.word, err)
			return 1
		}
	}
	return 0
}

// checkSystem finds what a start with cfg would trip over outside the
// configuration's text: files that cannot be written, addresses that cannot be
// bound. nginx finds it by doing it, and leaves an empty pid file and empty
// logs behind, maybe of the wrong owner; we look and leave nothing.
func checkSystem(cfg *conf.Config) error {
	for _, path := range append([]string{cfg.Process.Pid}, cfg.Logs...) {
		if err := checkWritable(path); err != nil {
			return callFailed(errorlog.Emerg, "open()", path, err)
		}
	}
	for _, f := range cfg.Temps {
		if _, err := os.Lstat(f.Path); err == nil || !f.Named {
			continue
		}
		if err := checkFolder(f.Path); err != nil {
			return callFailed(errorlog.Emerg, "mkdir()", f.Path, err)
		}
	}
	for _, l := range cfg.Listens {
		err := checkListen(l)
		if err != nil && !errors.Is(err, unix.EADDRINUSE) { // by us, most likely
			e := &callError{level: errorlog.Emerg, msg: fmt.Sprintf("bind() to %s failed", l.Key())}
			errors.As(err, &e.errno)
			return e
		}
	}
	return nil
}

// checkListen reports why l could not be bound.
func checkListen(l conf.Listen) error {
	if l.Network == "tcp" {
		return checkBind(l.Addr, l.IPv6Only)
	}
	// Binding would create the socket's file.
	if _, err := os.Lstat(l.Path); err == nil {
		return unix.EADDRINUSE
	}
	return checkFolder(l.Path)
}

// checkWritable reports why path could not be opened for writing, creating it
// if need be.
func checkWritable(path string) error {
	// Without O_NONBLOCK a named pipe that nobody reads would hold us up.
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.ENXIO):
		return nil
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil // a link to what is not there: open would create it, where it can
	}
	return checkFolder(path)
}

// checkFolder reports why the file path could not be created.
func checkFolder(path string) error {
	return unix.Faccessat(unix.AT_FDCWD, filepath.Dir(path), unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

// checkBind binds a socket to addr without listening, so no connection can
// come to it.
func checkBind(addr netip.AddrPort, v6only bool) error {
	family := unix.AF_INET
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(addr.Port())}
	if ip := addr.Addr(); ip.Is6() {
		family = unix.AF_INET6
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16()}
	} else {
		sa.(*unix.SockaddrInet4).Addr = ip.As4()
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if family == unix.AF_INET6 {
		only := 0
		if v6only {
			only = 1
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return err
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, sa)
}
