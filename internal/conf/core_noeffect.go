package conf

import (
	"slices"
	"strings"
)

// withoutEffect are the core directives that tune what Baton does not have. Their
// values are checked as nginx checks them, so that a file which passes here passes
// there.
func withoutEffect() []Spec {
	const (
		scheduler = "Go's scheduler runs the workers' threads."
		poller    = "The Go runtime waits for events itself, with epoll."
		accept    = "Every worker accepts as the kernel hands connections out."
		tls       = "There is no OpenSSL in Baton."
		debugging = "It is for debugging nginx itself."
	)
	none := func(name string, in Context, note string, check func(*Directive) error) Spec {
		return Spec{Name: name, In: in, Min: 1, Max: 1, Effect: NoEffect, Note: note, Check: check}
	}
	flag := func(name string, in Context, note string) Spec {
		s := none(name, in, note, nil)
		s.Flag = true
		return s
	}
	repeat := func(s Spec) Spec {
		s.Repeat = true
		return s
	}
	args := func(lo, hi int, s Spec) Spec {
		s.Min, s.Max = lo, hi
		return s
	}
	return []Spec{
		args(1, AnyArgs, none("worker_cpu_affinity", Main, scheduler, checkAffinity)),
		none("worker_priority", Main, "Set it for the whole service, in its unit file.", checkPriority),
		none("timer_resolution", Main, "The Go runtime keeps time itself.", CheckTime),
		none("lock_file", Main, accept, nil),
		none("debug_points", Main, debugging, CheckEnum("stop", "abort")),
		flag("pcre_jit", Main, "Regular expressions do not run on PCRE."),
		repeat(args(2, 3, none("thread_pool", Main, "Reading a file blocks no other request.", checkThreadPool))),
		repeat(none("load_module", Main, "Modules are built in; a directive of one that is not fails by itself.", nil)),
		none("ssl_engine", Main, tls, nil),
		flag("ssl_object_cache_inheritable", Main, tls),
		flag("quic_bpf", Main, "QUIC is not served."),
		none("use", Events, poller, checkUse),
		flag("multi_accept", Events, accept),
		flag("accept_mutex", Events, accept),
		none("accept_mutex_delay", Events, accept, CheckTime),
		none("worker_aio_requests", Events, "Files are not read by asynchronous system calls.", CheckNumber),
		none("epoll_events", Events, poller, CheckNumber),
		repeat(none("debug_connection", Events, debugging, nil)),
	}
}

// checkUse wants a method that nginx can be built with on Linux.
func checkUse(d *Directive) error {
	if !slices.Contains([]string{"epoll", "poll", "select"}, d.Arg(0)) {
		return Errorf(d, `invalid event type "%s"`, d.Arg(0))
	}
	return nil
}

// checkPriority wants a nice value, which may be negative.
func checkPriority(d *Directive) error {
	if _, err := ParseNumber(strings.TrimPrefix(d.Arg(0), "-")); err != nil {
		return Errorf(d, `"worker_priority" directive %s`, err.Error())
	}
	return nil
}

// checkAffinity wants masks of bits, after "auto" or not.
func checkAffinity(d *Directive) error {
	masks := d.Args
	if d.Arg(0) == "auto" {
		masks = masks[1:]
	}
	for _, mask := range masks {
		if bad := strings.Trim(mask, "01 "); bad != "" {
			return Errorf(d, `invalid character "%s" in "worker_cpu_affinity"`, bad[:1])
		}
	}
	return nil
}

// checkThreadPool wants threads= and, if at all, max_queue=; nginx passes over
// anything else.
func checkThreadPool(d *Directive) error {
	threads := false
	for _, arg := range d.Args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		if name != "threads" && name != "max_queue" {
			continue
		}
		if n, err := ParseNumber(value); err != nil || name == "threads" && n == 0 {
			return Errorf(d, `invalid %s value "%s"`, name, arg)
		}
		threads = threads || name == "threads"
	}
	if !threads {
		return Errorf(d, `"thread_pool" must have "threads" parameter`)
	}
	return nil
}
