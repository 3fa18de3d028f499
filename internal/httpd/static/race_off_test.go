//go:build !race

package static_test

// garbageAllowed is how many allocations a request may cost.
const garbageAllowed = 0
