// Package proc is what Baton asks of the operating system about processes:
// starting them from the image that runs or from a file on disk, waiting for
// them, their titles, pid files, users and limits, shared memory, and the
// messages to systemd.
//
// It decides nothing and keeps no state: a pid, a descriptor or a path goes in
// and an error or a fact comes out. It does not know what the processes are
// for.
package proc
