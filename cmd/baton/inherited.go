package main

import (
	"os"
	"strconv"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/master"
	"github.com/baton-deploy/baton/internal/proc"
)

// forgetStrangers removes what the environment says of descriptors that no process of
// ours passed to this one: a variable may come from whoever started a shell in which
// somebody starts a server. What counts is the socket that a master, or the command that
// starts one, makes for each process that it starts; the other variables go with it.
func forgetStrangers() {
	// Not the arguments that a master goes on with: its title is gone there.
	if _, titled := proc.OriginalArgv(os.Args); !titled {
		_ = os.Unsetenv(master.EnvConfig) // it comes from a process that gave us our title
	}
	for socket, others := range map[string][]string{
		master.EnvWorker:  nil,
		master.EnvOld:     {master.EnvStats, master.EnvTickets},
		master.EnvStarter: {master.EnvActivated},
	} {
		if fd, err := strconv.Atoi(os.Getenv(socket)); err == nil && fd > 2 && control.FromParent(fd) {
			continue
		}
		for _, name := range append(others, socket) {
			// Unsetenv fails for names that are none, only.
			_ = os.Unsetenv(name)
		}
	}
}
