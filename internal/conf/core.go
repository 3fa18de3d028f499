package conf

// CoreGroup returns the directives of nginx's core and events modules, and our own
// upgrade_timeout. What they mean is in [Process].
func CoreGroup() Group {
	anywhere := Main | Events | HTTP | Upstream | Server | Location | ServerIf | LocationIf | LimitExcept
	specs := []Spec{
		{Name: "include", In: anywhere, Min: 1, Max: 1, Repeat: true},
		{Name: "user", In: Main, Min: 1, Max: 2},
		{Name: "worker_processes", In: Main, Min: 1, Max: 1, Check: checkWorkers, Note: `"auto" is one worker for every 8 cores, rounded up: a worker uses many cores by itself.`},
		{Name: "worker_rlimit_nofile", In: Main, Min: 1, Max: 1, Check: CheckNumber},
		{Name: "worker_rlimit_core", In: Main, Min: 1, Max: 1, Check: CheckOffset},
		{Name: "worker_shutdown_timeout", In: Main, Min: 1, Max: 1, Check: CheckTime},
		{Name: "upgrade_timeout", In: Main, Min: 1, Max: 1, Check: CheckTime, Note: "Baton's own: how long a new master may take until it is ready before the old one ends it and goes on; 60s by default."},
		{Name: "pid", In: Main, Min: 1, Max: 1},
		{Name: "error_log", In: Main, Min: 1, Max: AnyArgs, Repeat: true, Check: CheckErrorLog, Note: "Files and stderr; not syslog: and memory:. The debug_ levels are debug."},
		{Name: "daemon", In: Main, Min: 1, Max: 1, Flag: true},
		{Name: "master_process", In: Main, Min: 1, Max: 1, Flag: true},
		{Name: "env", In: Main, Min: 1, Max: 1, Repeat: true},
		{Name: "working_directory", In: Main, Min: 1, Max: 1},
		{Name: "events", In: Main, Block: true, Inner: Events},
		{Name: "worker_connections", In: Events, Min: 1, Max: 1, Check: checkConnections},
	}
	return Group{Module: "ngx_core_module", Specs: append(specs, withoutEffect()...)}
}

// withoutEffect are the core directives that tune what Baton does not have.
func withoutEffect() []Spec {
	const (
		scheduler = "Go's scheduler runs the workers' threads."
		poller    = "The Go runtime waits for events itself, with epoll."
		accept    = "Every worker accepts as the kernel hands connections out."
		tls       = "There is no OpenSSL in Baton."
		debugging = "It is for debugging nginx itself."
	)
	none := func(name string, in Context, limit int, note string) Spec {
		return Spec{Name: name, In: in, Min: 1, Max: limit, Effect: NoEffect, Note: note}
	}
	flag := func(name string, in Context, note string) Spec {
		s := none(name, in, 1, note)
		s.Flag = true
		return s
	}
	repeat := func(s Spec) Spec {
		s.Repeat = true
		return s
	}
	return []Spec{
		none("worker_cpu_affinity", Main, AnyArgs, scheduler),
		none("worker_priority", Main, 1, "Set it for the whole service, in its unit file."),
		none("timer_resolution", Main, 1, "The Go runtime keeps time itself."),
		none("lock_file", Main, 1, accept),
		none("debug_points", Main, 1, debugging),
		flag("pcre_jit", Main, "Regular expressions do not run on PCRE."),
		repeat(none("thread_pool", Main, 3, "Reading a file blocks no other request.")),
		repeat(none("load_module", Main, 1, "Modules are built in; a directive of one that is not fails by itself.")),
		none("ssl_engine", Main, 1, tls),
		flag("ssl_object_cache_inheritable", Main, tls),
		flag("quic_bpf", Main, "QUIC is not served."),
		none("use", Events, 1, poller),
		flag("multi_accept", Events, accept),
		flag("accept_mutex", Events, accept),
		none("accept_mutex_delay", Events, 1, accept),
		none("worker_aio_requests", Events, 1, "Files are not read by asynchronous system calls."),
		none("epoll_events", Events, 1, poller),
		repeat(none("debug_connection", Events, 1, debugging)),
	}
}
