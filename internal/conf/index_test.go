package conf

import (
	"fmt"
	"slices"
	"testing"
)

// TestLookUpInALargeBlockIsThatInASmallOne compares what an index finds with what
// looking at each directive finds.
func TestLookUpInALargeBlockIsThatInASmallOne(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, smallBlock, smallBlock + 1, 500} {
		var block []*Directive
		for i := range n {
			block = append(block, &Directive{Name: fmt.Sprintf("d%d", i%7), Line: i})
		}
		outer := &Scope{Context: Main, Block: []*Directive{{Name: "d9"}}}
		plain := outer.In(HTTP, &Directive{Name: "http", Block: block})
		indexed := outer.In(HTTP, &Directive{Name: "http", Block: block, index: newIndex(block)})
		if large := n > smallBlock; large != (indexed.index != nil) {
			t.Errorf("%d directives: an index: %v", n, !large)
		}
		for i := range 11 {
			name := fmt.Sprintf("d%d", i)
			if got, want := indexed.Own(name), plain.Own(name); !slices.Equal(got, want) {
				t.Errorf("%d directives: Own(%s) has %d, want %d", n, name, len(got), len(want))
			}
			if got, want := indexed.All(name), plain.All(name); !slices.Equal(got, want) {
				t.Errorf("%d directives: All(%s) has %d, want %d", n, name, len(got), len(want))
			}
			var last *Directive
			if all := plain.All(name); len(all) > 0 {
				last = all[len(all)-1]
			}
			if got := indexed.One(name); got != last {
				t.Errorf("%d directives: One(%s) = %v, want %v", n, name, got, last)
			}
		}
	}
}
