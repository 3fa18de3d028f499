//go:build race

package static_test

// garbageAllowed is how many allocations a request may cost: under the race
// detector pools drop things at random.
const garbageAllowed = 20
