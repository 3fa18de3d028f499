package httpd

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// plainFind is prefixTree.find by looking at every name.
func plainFind(locs map[string]*Location, text string) (longest, slashed *Location) {
	for name, loc := range locs {
		if strings.HasPrefix(text, name) && (longest == nil || len(name) > len(longest.Name)) {
			longest = loc
		}
	}
	return longest, locs[text+"/"]
}

func TestPrefixTreeFindsWhatAPlainSearchFinds(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	word := func(n int) string {
		b := []byte("/")
		for range random.IntN(n) {
			b = append(b, "ab/\xff"[random.IntN(4)])
		}
		return string(b)
	}
	for range 300 {
		var tree prefixTree
		locs := map[string]*Location{}
		for range random.IntN(30) {
			loc := &Location{Name: word(8)}
			if random.IntN(10) == 0 {
				loc.Name = loc.Name[1:]
			}
			if got, want := tree.put(loc.Name, loc), locs[loc.Name] == nil; got != want {
				t.Fatalf("put(%q) = %v, want %v", loc.Name, got, want)
			} else if got {
				locs[loc.Name] = loc
			}
		}
		for range 100 {
			text := word(10)
			longest, slashed := tree.find([]byte(text))
			wantLongest, wantSlashed := plainFind(locs, text)
			if longest != wantLongest || slashed != wantSlashed {
				t.Fatalf("find(%q) among %d names = %v, %v, want %v, %v", text, len(locs), longest, slashed, wantLongest, wantSlashed)
			}
		}
	}
}

func TestPrefixTreeAllocatesNothingToFind(t *testing.T) {
	var tree prefixTree
	for i := range 1000 {
		name := fmt.Sprintf("/loc%d/", i)
		tree.put(name, &Location{Name: name})
	}
	uri := []byte("/loc999/x")
	if n := testing.AllocsPerRun(100, func() { tree.find(uri) }); n != 0 {
		t.Errorf("find allocates %v times", n)
	}
}

// BenchmarkPrefixTree shows that a request costs the same among many locations.
func BenchmarkPrefixTree(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var tree prefixTree
			for i := range n {
				name := fmt.Sprintf("/location%d/", i)
				tree.put(name, &Location{Name: name})
			}
			uri := fmt.Appendf(nil, "/location%d/index.html", n/2)
			for b.Loop() {
				tree.find(uri)
			}
		})
	}
}
