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
