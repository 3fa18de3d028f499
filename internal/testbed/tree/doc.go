// Package tree starts real processes and owns every one of their descendants.
//
// A server that daemonizes, and a master that an upgrade executed and whose
// parent then left, slip out of the hands of the process that started them:
// the kernel gives them to process 1. A [Tree] puts a process of its own, the
// root, in between. The root is a subreaper (prctl(2)), so orphans come back
// to it as they would come to process 1; it waits for all of them and tells
// their exit status, and when the tree is uprooted, or the process that
// planted it dies in any way, it kills what is left. Only descendants of the
// root are ever signalled, so trees of tests that run side by side, and every
// other process of the machine, are out of reach.
//
// The root is the planting program executed once more. Its main function, or
// TestMain, must call [Main] first.
package tree
