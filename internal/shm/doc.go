// Package shm is memory with a name, a zone, that all workers of a master share, and the
// workers of its successors.
//
// A master creates a zone with [Create], keeps its descriptor, and passes it to workers and
// to a new master, which accepts it when [Check] finds that it knows what is in it. A master
// never maps a zone and reads nothing of it but the head. A worker maps it and makes a
// [Store] of it with [Open]: entries found by a key of any length, the least recently used
// ones given up first.
//
// A zone holds numbers and offsets, no pointers, and its form is a contract between
// releases. Whoever has it may write anything there at any moment. So every offset that is
// read is checked before it is used and every walk has an end: rubbish costs entries and
// nothing else. The memory is sealed, so that nobody makes it smaller.
//
// One process at a time works in a zone. A process that dies while it does is found out by
// the next one, which takes its place and repairs what was left half done; so is one that
// was stopped for longer than a second.
//
// A [Table] is older and simpler: a row of numbers for each worker, which only that one
// writes.
//
// The package knows nothing of what entries and rows mean.
package shm
