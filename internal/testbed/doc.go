// Package testbed runs real servers for tests, the demo and benchmarks: it
// builds binaries, lays out prefixes, starts servers in a process tree of
// their own, and asks who answers.
//
// A test gets a [Site]: a prefix with a server binary installed as sbin/nginx,
// a configuration that listens on a free port, a [tree.Tree] that every
// process lives in, and a shell to type an operator's commands into. When the
// test ends anything that still runs is a failure of the test, and is killed;
// so is a report of the race detector in any server process.
//
// What does not need a test works without one and returns errors: [Build],
// [Prefix], [Ask], [Shape]. Nothing here knows how a server works inside: all
// that counts is what a client, an operator and the kernel can see.
//
// The TestMain of a package that uses sites or fixtures is
//
//	func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }
package testbed
