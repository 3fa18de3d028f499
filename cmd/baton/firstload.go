package main

import (
	"os"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/master"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/worker"
)

// sealConfig returns a descriptor of what cfg was made of, for the master that is about to
// be started: a file that can be read once only is read by the command that starts it.
func sealConfig(cfg *conf.Config) (fd int, err error) {
	snapshot, err := cfg.Snapshot.Encode()
	if err != nil {
		return -1, err
	}
	return proc.Sealed("configuration", snapshot)
}

// loadOnce is load for a master. The first time it gives the configuration that the
// command has loaded which started the master, if there is one.
func loadOnce(load func() (*conf.Config, error)) func() (*conf.Config, error) {
	fd, ok := takeDescriptor(master.EnvConfig)
	if !ok {
		return load
	}
	f := os.NewFile(uintptr(fd), "configuration")
	snapshot, err := proc.ReadSealed(f, worker.MaxMemory)
	_ = f.Close() // it was read
	if err != nil {
		return load
	}
	return func() (*conf.Config, error) {
		first := snapshot
		if snapshot = nil; first == nil {
			return load()
		}
		cfg, err := decodeConfig(first)
		if err != nil {
			return nil, err
		}
		return checkConfig(cfg)
	}
}
